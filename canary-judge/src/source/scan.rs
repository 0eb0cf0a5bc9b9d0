//! Reading a long answer in JSON at once into numbers, without a value for each of them in between.
//!
//! Half of what we spend on a fetch would go into a general reader; this one knows what it looks for.

use std::borrow::Cow;

use super::http::Unreadable;

/// How deep what is passed over may be.
const DEEPEST: usize = 64;

/// A place in an answer.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn fault(&self, wanted: &str) -> Unreadable {
        match self.bytes.get(self.at) {
            None => Unreadable::Cut,
            Some(_) => Unreadable::Other(format!("{wanted} is expected at byte {}", self.at)),
        }
    }

    /// The next byte that is no space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(crate) fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Takes `byte`, which has to be next.
    #[inline]
    pub(crate) fn take(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.takes(byte) {
            return Ok(());
        }
        Err(self.fault(&format!("{:?}", char::from(byte))))
    }

    /// Nothing may follow.
    pub(crate) fn end(&mut self) -> Result<(), Unreadable> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("the end")),
        }
    }

    /// The text that is next, as it is written between its quotes, and whether it has escapes.
    #[inline]
    fn raw(&mut self) -> Result<(&'a [u8], bool), Unreadable> {
        self.take(b'"')?;
        let begin = self.at;
        let mut escapes = false;
        while let Some(byte) = self.bytes.get(self.at) {
            match byte {
                b'"' => {
                    let raw = self.bytes.get(begin..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok((raw, escapes));
                }
                b'\\' => {
                    escapes = true;
                    self.at += 2;
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
        Err(Unreadable::Cut)
    }

    /// A text.
    pub(crate) fn text(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        let begin = self.at;
        let (raw, escapes) = self.raw()?;
        let plain = std::str::from_utf8(raw);
        let plain = plain.map_err(|_| Unreadable::Other(format!("no UTF-8 at byte {begin}")))?;
        if !escapes {
            return Ok(Cow::Borrowed(plain));
        }
        let whole = format!("\"{plain}\"");
        let text = serde_json::from_str(&whole).map_err(Unreadable::from)?;
        Ok(Cow::Owned(text))
    }

    /// The name of a field and the colon behind it.
    pub(crate) fn name(&mut self) -> Result<Cow<'a, str>, Unreadable> {
        let name = self.text()?;
        self.take(b':')?;
        Ok(name)
    }

    /// Calls `field` for each field of an object; it takes the value.
    pub(crate) fn object(
        &mut self,
        mut field: impl FnMut(&mut Self, &str) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.take(b'{')?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let name = self.name()?;
            field(self, &name)?;
            if self.takes(b'}') {
                return Ok(());
            }
            self.take(b',')?;
        }
    }

    /// Calls `entry` for each entry of a list; it takes the value.
    #[inline]
    pub(crate) fn list(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        self.take(b'[')?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            entry(self)?;
            if self.takes(b']') {
                return Ok(());
            }
            self.take(b',')?;
        }
    }

    #[inline]
    fn written(&mut self) -> Result<&'a str, Unreadable> {
        self.peek();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_part = |b: &u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        let written = rest.get(..length).unwrap_or_default();
        if written.is_empty() || length == rest.len() {
            self.at += length;
            return Err(self.fault("a number"));
        }
        self.at += length;
        std::str::from_utf8(written).map_err(|_| self.fault("a number"))
    }

    /// Seconds, perhaps with a fraction, as milliseconds.
    #[inline]
    pub(crate) fn seconds_as_ms(&mut self) -> Result<i64, Unreadable> {
        let begin = self.at;
        let written = self.written()?;
        ms(written).ok_or_else(|| Unreadable::Other(format!("no instant at byte {begin}")))
    }

    /// A text that holds a number as Prometheus writes it.
    #[inline]
    pub(crate) fn quoted_number(&mut self) -> Result<f64, Unreadable> {
        let begin = self.at;
        let (raw, _) = self.raw()?;
        let number = std::str::from_utf8(raw)
            .ok()
            .and_then(|text| text.parse().ok());
        number.ok_or_else(|| Unreadable::Other(format!("no number at byte {begin}")))
    }

    /// Calls `put` for each `[seconds, "number"]` of a list, with milliseconds and the number.
    pub(crate) fn points(&mut self, mut put: impl FnMut(i64, f64)) -> Result<(), Unreadable> {
        self.list(|scan| {
            if let Some((at_ms, value, length)) = scan.bytes.get(scan.at..).and_then(point) {
                scan.at += length;
                put(at_ms, value);
                return Ok(());
            }
            scan.take(b'[')?;
            let at_ms = scan.seconds_as_ms()?;
            scan.take(b',')?;
            put(at_ms, scan.quoted_number()?);
            scan.take(b']')
        })
    }

    /// Passes over a value of any kind.
    pub(crate) fn pass(&mut self) -> Result<(), Unreadable> {
        self.pass_in(0)
    }

    fn pass_in(&mut self, depth: usize) -> Result<(), Unreadable> {
        if depth > DEEPEST {
            return Err(Unreadable::Other(format!("more than {DEEPEST} levels")));
        }
        match self.peek() {
            Some(b'"') => self.raw().map(|_| ()),
            Some(b'{') => self.object(|scan, _| scan.pass_in(depth + 1)),
            Some(b'[') => self.list(|scan| scan.pass_in(depth + 1)),
            Some(b't' | b'f' | b'n') => {
                let rest = self.bytes.get(self.at..).unwrap_or_default();
                let words: [&[u8]; 3] = [b"true", b"false", b"null"];
                let Some(word) = words.iter().find(|word| rest.starts_with(word)) else {
                    let is_cut = words.iter().any(|word| word.starts_with(rest));
                    self.at += if is_cut { rest.len() } else { 0 };
                    return Err(self.fault("true, false or null"));
                };
                self.at += word.len();
                Ok(())
            }
            _ => self.written().map(|_| ()),
        }
    }
}

/// Eight digits at once: each step puts neighbours together that are one, two and four digits long.
#[inline]
fn eight_digits(text: [u8; 8]) -> Option<u64> {
    let digits = u64::from_le_bytes(text) ^ 0x3030_3030_3030_3030;
    let above_nine = digits.wrapping_add(0x7676_7676_7676_7676) | digits;
    if above_nine & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let twos = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (twos * 100 + (twos >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// A point as Prometheus writes it, `[1700000000.25,"1.5"]`, at once, and how long it is; none if it is written
/// otherwise, which is read piece by piece.
#[inline]
fn point(rest: &[u8]) -> Option<(i64, f64, usize)> {
    let text = rest.strip_prefix(b"[")?;
    // Seconds since 1973 have nine digits or more.
    let (first, mut text) = text.split_first_chunk()?;
    let mut number = eight_digits(*first)?;
    let mut digits = |text: &mut &[u8], most: usize| {
        let before = text.len();
        while let Some((byte, after)) = text.split_first() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 || before - text.len() == most {
                break;
            }
            number = number * 10 + u64::from(digit);
            *text = after;
        }
        before - text.len()
    };
    digits(&mut text, 4);
    let mut fraction = 0;
    if let Some(after) = text.strip_prefix(b".") {
        text = after;
        fraction = digits(&mut text, 3);
    }
    text = text.strip_prefix(b",\"")?;
    let (value, length) = fast_float2::parse_partial(text).ok()?;
    let after = text.get(length..)?.strip_prefix(b"\"]")?;
    let at_ms = number.cast_signed() * [1_000, 100, 10, 1].get(fraction)?;
    Some((at_ms, value, rest.len() - after.len()))
}

/// `1700000000.25` as 1700000000250.
#[inline]
fn ms(written: &str) -> Option<i64> {
    let (whole, fraction) = written.split_once('.').unwrap_or((written, ""));
    if whole.is_empty()
        || whole.len() > 15
        || !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        // With an exponent or a sign, which no store of ours writes but JSON allows.
        let seconds: f64 = written.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be in range")]
        return (seconds.abs() < 9e12).then(|| (seconds * 1_000.0).round() as i64);
    }
    let digits = |text: &str| {
        text.bytes()
            .fold(0_i64, |n, b| n * 10 + i64::from(b - b'0'))
    };
    let three = fraction.get(..3).unwrap_or(fraction);
    let shift = [1_000, 100, 10, 1].get(three.len())?;
    Some(digits(whole) * 1_000 + digits(three) * shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_to_the_millisecond() {
        for (written, expected) in [
            ("0", 0),
            ("1700000000", 1_700_000_000_000),
            ("1700000000.1", 1_700_000_000_100),
            ("1700000000.123", 1_700_000_000_123),
            ("1700000000.1234", 1_700_000_000_123),
            ("1.7e9", 1_700_000_000_000),
            ("-1", -1_000),
        ] {
            assert_eq!(ms(written), Some(expected), "{written}");
        }
        assert_eq!(ms("1e300"), None);
        assert_eq!(ms("."), None);
    }

    #[test]
    fn points_are_read_however_they_are_written() {
        let read = |text: &str| {
            let mut found = Vec::new();
            let mut scan = Scan::new(text.as_bytes());
            let end = scan.points(|at_ms, value| found.push((at_ms, value)));
            end.map(|()| found)
        };
        let text = r#"[[1,"2"],[1.25,"-1e-7"],[ 1.5 , "+Inf" ],[1700000000.1234,"3"],[1e1,"4"],
            [1700000000.25,"1e3"],[98765432,"-0.1"],[12345678.9,"-Inf"],[1767225601,"99.70000000000002"],
            [17672256012345,"5"],[1767225602.001,"+Inf"]]"#;
        let expected = [
            (1_000, 2.0),
            (1_250, -1e-7),
            (1_500, f64::INFINITY),
            (1_700_000_000_123, 3.0),
            (10_000, 4.0),
            (1_700_000_000_250, 1e3),
            (98_765_432_000, -0.1),
            (12_345_678_900, f64::NEG_INFINITY),
            (1_767_225_601_000, 99.700_000_000_000_02),
            (17_672_256_012_345_000, 5.0),
            (1_767_225_602_001, f64::INFINITY),
        ];
        assert_eq!(read(text), Ok(expected.to_vec()));
        for length in 0..text.len() {
            assert_eq!(read(&text[..length]), Err(Unreadable::Cut), "{length}");
        }
        for garbage in [
            r#"[[1,2]]"#,
            r#"[["1","2"]]"#,
            r#"[[1,"x"]]"#,
            r#"[[1767225600,"1x"]]"#,
            r#"[[1767225600,""]]"#,
            r#"[[1767225600,2]]"#,
            r#"[[1767225600.5,"2",3]]"#,
            r#"[[17672a5600,"2"]]"#,
            r#"[[1,"2",3]]"#,
            "[1]",
        ] {
            assert!(
                matches!(read(garbage), Err(Unreadable::Other(_))),
                "{garbage}"
            );
        }
    }

    #[test]
    fn eight_digits_are_a_number_and_nothing_else_is() {
        for number in [0, 1, 9, 10, 12_345_678, 90_000_000, 99_999_999] {
            let text = format!("{number:08}");
            let found = eight_digits(text.as_bytes().try_into().unwrap());
            assert_eq!(found, Some(number));
        }
        for at in 0..8 {
            for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
                let mut text = *b"90909090";
                text[at] = byte;
                assert_eq!(eight_digits(text), None, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn whatever_is_not_looked_for_is_passed_over() {
        let text = br#" {"a" : [1, -2.5e3, "x\"y", {"b": null}], "c": true, "d": {}, "e": []} "#;
        let mut scan = Scan::new(text);
        scan.pass().unwrap();
        scan.end().unwrap();
    }

    #[test]
    fn an_answer_that_is_cut_anywhere_is_told_from_garbage() {
        let text = br#"{"a": [[1.5, "2"], [true, "x\"y"]], "b": null}"#;
        for length in 0..text.len() {
            let mut scan = Scan::new(&text[..length]);
            let found = scan.pass().and_then(|()| scan.end());
            assert_eq!(found, Err(Unreadable::Cut), "{length}");
        }
        for garbage in [
            "<html>",
            "{a: 1}",
            "[1 2]",
            "{\"a\" 1}",
            "nul",
            "truth",
            "\"a\"\"b\"",
        ] {
            let mut scan = Scan::new(garbage.as_bytes());
            let found = scan.pass().and_then(|()| scan.end());
            let is_other = matches!(found, Err(Unreadable::Other(_)));
            assert!(is_other || garbage == "nul", "{garbage}: {found:?}");
        }
        let deep = "[".repeat(1_000);
        assert!(matches!(
            Scan::new(deep.as_bytes()).pass(),
            Err(Unreadable::Other(_))
        ));
    }

    #[test]
    fn texts_with_escapes_are_read() {
        let mut scan = Scan::new(br#""a\"\u00e9\n""#);
        assert_eq!(scan.text().unwrap(), "a\"é\n");
        assert!(Scan::new(b"\"\xff\"").text().is_err());
    }
}
