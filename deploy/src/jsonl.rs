//! A question a line, an answer a line: what commands read and write that need no running installation.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Map, Value};

/// What is written of a question.
pub(crate) struct Answer {
    /// A JSON object.
    pub(crate) told: Map<String, Value>,
    /// Why the line was no question; also said on standard error.
    pub(crate) unread: Option<String>,
}

/// Answers each line that is not blank, in order; 65 when one was no question.
///
/// `answer` takes the line's number, from 1, and its bytes. A line longer than `most` bytes ends the command.
pub(crate) fn each(
    mut input: impl BufRead,
    mut output: impl Write,
    most: u64,
    mut answer: impl FnMut(u64, &[u8]) -> Answer,
) -> anyhow::Result<ExitCode> {
    let mut unread = 0;
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = (&mut input).take(most + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if read as u64 > most && !line.ends_with(b"\n") {
            bail!("line {number} is longer than {most} bytes");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let answer = answer(number, &line);
        if let Some(message) = &answer.unread {
            eprintln!("gennaker: {message}");
            unread += 1;
        }
        serde_json::to_writer(&mut output, &answer.told)?;
        output.write_all(b"\n")?;
        // Whoever writes line after line waits for each answer.
        output.flush()?;
    }
    Ok(ExitCode::from(if unread > 0 { 65 } else { 0 }))
}

/// Writes one answer for people; 1 when it tells of a failure.
pub(crate) fn one(
    told: &Map<String, Value>,
    failed: bool,
    mut output: impl Write,
) -> anyhow::Result<ExitCode> {
    serde_json::to_writer_pretty(&mut output, told)?;
    writeln!(output)?;
    Ok(ExitCode::from(u8::from(failed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_ends_the_command() {
        let told = |input: &str| {
            let mut numbers = Vec::new();
            let ended = each(input.as_bytes(), Vec::new(), 4, |number, _| {
                numbers.push(number);
                Answer {
                    told: Map::new(),
                    unread: None,
                }
            });
            (ended.map_err(|error| error.to_string()).err(), numbers)
        };
        assert_eq!(told("1234\n \n1\n"), (None, vec![1, 3]));
        let reason = "line 2 is longer than 4 bytes".to_owned();
        assert_eq!(told("1\n12345\n"), (Some(reason), vec![1]));
    }
}
