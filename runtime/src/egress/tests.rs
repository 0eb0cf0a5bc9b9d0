use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers every connection with the given bytes, once.
async fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn egress(allow: &[&str]) -> Egress {
    let allow = allow.iter().map(|a| a.parse().unwrap()).collect();
    Egress::new(Settings {
        allow,
        max_bytes: 10,
        timeout: Duration::from_secs(5),
    })
    .unwrap()
}

#[tokio::test]
async fn loopback_is_refused_by_literal_and_by_name_unless_allowed() {
    let address = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let port = address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433"] {
        let error = egress(&[])
            .send(Request::get(format!("http://{host}:{port}/")))
            .await;
        assert!(
            matches!(error, Err(Error::Address { .. })),
            "{host}: {error:?}"
        );
    }
    let allowed = format!("127.0.0.1:{port}");
    let response = egress(&[&allowed])
        .send(Request::get(format!("http://{allowed}/")))
        .await;
    assert_eq!(response.unwrap().body, "ok");
    let other = format!("127.0.0.1:{}", port ^ 1);
    let error = egress(&[&other])
        .send(Request::get(format!("http://{allowed}/")))
        .await;
    assert!(matches!(error, Err(Error::Address { .. })));
}

#[tokio::test]
async fn a_redirect_to_a_refused_address_is_refused() {
    let address = server(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/x\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let error = egress(&[&address.to_string()])
        .send(Request::get(format!("http://{address}/")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("link-local"), "{error}");
}

#[tokio::test]
async fn headers_do_not_follow_a_redirect_to_somebody_else() {
    let (seen, mut requests) = tokio::sync::mpsc::channel(2);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&buffer[..count]).to_ascii_lowercase();
            let first = text.starts_with("get /first");
            let _ = seen.send(text).await;
            let answer = match first {
                true => "HTTP/1.1 302 Found\r\nlocation: /second\r\ncontent-length: 0\r\n\r\n",
                false => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{other}/\r\ncontent-length: 0\r\n\r\n");
    let address = server(redirect.leak()).await;
    let egress = egress(&[&address.to_string(), &other.to_string()]);
    let secret = |url: String| {
        let mut request = Request::get(url);
        request
            .headers
            .insert(header::AUTHORIZATION, HeaderValue::from_static("bearer x"));
        request
            .headers
            .insert("x-api-key", HeaderValue::from_static("y"));
        request
            .headers
            .insert(header::ACCEPT, HeaderValue::from_static("text/z"));
        request
    };
    egress
        .send(secret(format!("http://{address}/")))
        .await
        .unwrap();
    let strange = requests.recv().await.unwrap();
    assert!(
        !strange.contains("bearer x") && !strange.contains("x-api-key"),
        "{strange}"
    );
    assert!(strange.contains("text/z"), "{strange}");
    egress
        .send(secret(format!("http://{other}/first")))
        .await
        .unwrap();
    for _ in 0..2 {
        let own = requests.recv().await.unwrap();
        assert!(
            own.contains("bearer x") && own.contains("x-api-key"),
            "{own}"
        );
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_an_error_that_names_it() {
    let address = server("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world").await;
    let error = egress(&[&address.to_string()])
        .send(Request::get(format!("http://{address}/")))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("10 bytes"), "{error}");
}

#[tokio::test]
async fn credentials_and_odd_schemes_are_refused_and_not_repeated() {
    let error = egress(&[])
        .check("http://ann:hunter2@example.org/")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("credentials") && !error.contains("hunter2"),
        "{error}"
    );
    assert!(egress(&[]).check("file:///etc/passwd").is_err());
}
