//! A request read back from what was written of it, to be sent once more.
//!
//! Hardly any request is sent twice: to keep the bytes costs a fraction of keeping a copy of the head.

use http::{HeaderName, HeaderValue, Method, Request, Uri};

use super::body::RequestBody;

/// Headers that most requests have room in.
const HEADERS: usize = 32;

/// The request without a body that these bytes are, in HTTP/1.1; none when they are none.
pub(crate) fn read(bytes: &[u8]) -> Option<Request<RequestBody>> {
    let mut room = HEADERS;
    loop {
        let mut headers = vec![httparse::EMPTY_HEADER; room];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(bytes) {
            // Each line has a byte at least.
            Err(httparse::Error::TooManyHeaders) if room <= bytes.len() => room *= 2,
            Ok(httparse::Status::Complete(_)) => return request(&head),
            Ok(httparse::Status::Partial) | Err(_) => return None,
        }
    }
}

fn request(head: &httparse::Request<'_, '_>) -> Option<Request<RequestBody>> {
    let mut request = Request::new(RequestBody::Empty);
    *request.method_mut() = Method::from_bytes(head.method?.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(head.path?).ok()?;
    for header in &*head.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.value).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let request =
            read(b"PUT /a?b=%20 HTTP/1.1\r\nhost: t\r\nx-a: 1\r\nx-a: \xe4\t2\r\n\r\n").unwrap();
        assert_eq!(
            (request.method(), request.uri().to_string()),
            (&Method::PUT, "/a?b=%20".into())
        );
        let values: Vec<_> = request
            .headers()
            .get_all("x-a")
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        assert_eq!(values, [&b"1"[..], b"\xe4\t2"]);
        assert_eq!(request.headers()["host"], "t");
        assert_eq!(request.headers().len(), 3);

        let mut many = b"OPTIONS * HTTP/1.1\r\n".to_vec();
        for at in 0..HEADERS * 5 {
            many.extend_from_slice(format!("x-{at}: {at}\r\n").as_bytes());
        }
        assert!(read(&many).is_none(), "it has no end");
        many.extend_from_slice(b"\r\n");
        assert_eq!(read(&many).unwrap().headers().len(), HEADERS * 5);
        for none in [
            &b""[..],
            b"GET / HTTP/1.1\r\nhost: t",
            b"GET / HTTP/1.1\r\na b: c\r\n\r\n",
        ] {
            assert!(read(none).is_none());
        }
    }
}
