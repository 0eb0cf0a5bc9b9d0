//! Registries and images: canned answers for what goes wrong, Debian's
//! `docker-registry` and `skopeo` for what goes right.

mod fake;
mod layout;
mod real;

use std::path::Path;

use cloud_driver::provider::local::image::{Images, Limits};
use cloud_driver::registry::{Account, Api, Error, Registries};
use proto::cloud_driver::v1::registry_service_server::RegistryService;
use proto::cloud_driver::v1::{FindImagesRequest, ImageQuery, RepositoryQuery};
use serde_json::json;
use tonic::{Code, Request};

use fake::{Answer, Fake};
use layout::digest;

fn account(address: &str) -> Account {
    serde_json::from_value(json!({"name": "r", "address": address})).unwrap()
}

fn registries(address: &str) -> Registries {
    Registries::new(vec![account(address)]).unwrap()
}

fn ok(body: impl ToString) -> Answer {
    (200, Vec::new(), body.to_string().into_bytes())
}

fn images(folder: &Path, address: &str) -> Images {
    Images::open(folder, registries(address), Limits::default()).unwrap()
}

#[tokio::test]
async fn all_pages_of_a_listing_are_read() {
    let fake = Fake::start(|path, _| match path {
        "/v2/a/tags/list?n=100" => (
            200,
            vec![(
                "link",
                "</v2/a/tags/list?n=100&last=2>; rel=\"next\"".into(),
            )],
            br#"{"tags":["1","2"]}"#.to_vec(),
        ),
        "/v2/a/tags/list?n=100&last=2" => ok(r#"{"tags":["3"]}"#),
        "/v2/empty/tags/list?n=100" => ok(r#"{"tags":null}"#),
        _ => (404, Vec::new(), Vec::new()),
    })
    .await;
    let registries = registries(&fake.address);
    let (_, client) = registries.named("r").unwrap();
    assert_eq!(client.tags("a").await.unwrap(), ["1", "2", "3"]);
    assert!(client.tags("empty").await.unwrap().is_empty());
    let missing = client.tags("b").await.unwrap_err();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    assert_eq!(
        missing.to_string(),
        format!("registry {} has no repository b", fake.address)
    );
}

#[tokio::test]
async fn a_listing_that_leads_elsewhere_or_never_ends_is_refused() {
    let fake = Fake::start(|path, _| {
        let link = if path.contains("/away/") {
            "<http://other.example/v2/x>; rel=\"next\"".to_owned()
        } else {
            format!("<{path}>; rel=\"next\"")
        };
        (200, vec![("link", link)], br#"{"tags":[]}"#.to_vec())
    })
    .await;
    let registries = registries(&fake.address);
    let (_, client) = registries.named("r").unwrap();
    let away = client.tags("away").await.unwrap_err().to_string();
    assert!(away.contains("on another host"), "{away}");
    let endless = client.tags("endless").await.unwrap_err();
    assert!(matches!(endless, Error::TooLarge { .. }), "{endless}");
}

#[tokio::test]
async fn a_token_is_fetched_with_the_credentials_and_used_again() {
    let fake = Fake::start(|path, authorization| match (path, authorization) {
        (_, Some("Bearer t1")) => ok(r#"{"tags":["1"]}"#),
        (p, Some("Basic dTpw"))
            if p.starts_with("/token?service=s&scope=repository%3Aa%3Apull") =>
        {
            ok(r#"{"access_token":"t1"}"#)
        }
        (p, _) if p.starts_with("/token") => (403, Vec::new(), Vec::new()),
        _ => (401, Vec::new(), Vec::new()),
    })
    .await;
    let realm = format!("http://{}/token", fake.address);
    let guarded = Fake::start(move |path, authorization| {
        if authorization == Some("Bearer t1") && path.starts_with("/v2/a/") {
            return ok(r#"{"tags":["1"]}"#);
        }
        let scope = if path.starts_with("/v2/a/") {
            "repository:a:pull"
        } else {
            "repository:b:pull"
        };
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"{scope}\"");
        (401, vec![("www-authenticate", challenge)], Vec::new())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "p\n").unwrap();
    let account = serde_json::from_value(json!({
        "name": "r", "address": guarded.address, "username": "u",
        "password": format!("file:{}", secret.display()),
    }))
    .unwrap();
    let registries = Registries::new(vec![account]).unwrap();
    let (_, client) = registries.named("r").unwrap();
    for _ in 0..2 {
        assert_eq!(client.tags("a").await.unwrap(), ["1"]);
    }
    assert_eq!(fake.asked().len(), 1, "the token is kept");
    let denied = client.tags("b").await.unwrap_err();
    assert!(matches!(denied, Error::Denied { .. }), "{denied}");
    assert!(!denied.to_string().contains("dTpw"), "{denied}");
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let storage = Fake::start(|_, _| ok(r#"{"tags":["1"]}"#)).await;
    let target = format!("http://{}/elsewhere", storage.address);
    let fake = Fake::start(move |_, authorization| {
        assert!(authorization.is_some());
        (307, vec![("location", target.clone())], Vec::new())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "p").unwrap();
    let account = serde_json::from_value(json!({
        "name": "r", "address": fake.address, "username": "u",
        "password": format!("file:{}", secret.display()),
    }))
    .unwrap();
    let registries = Registries::new(vec![account]).unwrap();
    let (_, client) = registries.named("r").unwrap();
    assert_eq!(client.tags("a").await.unwrap(), ["1"]);
    let asked = storage.asked();
    assert_eq!((asked.len(), &asked[0].authorization), (1, &None));
}

#[tokio::test]
async fn each_kind_of_failure_is_told_apart() {
    let fake = Fake::start(|path, _| match path.split('/').nth(2) {
        Some("busy") => (429, vec![("retry-after", "7".into())], Vec::new()),
        Some("down") => (503, Vec::new(), Vec::new()),
        Some("closed") => (
            401,
            vec![("www-authenticate", "Basic realm=\"x\"".into())],
            br#"{"errors":[{"message":"authentication required"}]}"#.to_vec(),
        ),
        Some("page") => ok("<html>"),
        _ => (404, Vec::new(), Vec::new()),
    })
    .await;
    let address = fake.address.clone();
    let registries = registries(&address);
    let (_, client) = registries.named("r").unwrap();
    for (repository, transient, fragment) in [
        ("busy", true, "limits the rate"),
        ("down", true, "answered 503"),
        (
            "closed",
            false,
            "authentication required; check the account's credentials",
        ),
        ("page", false, "not understood"),
        ("none", false, "has no image none:1"),
        ("UPPER", false, "is malformed"),
    ] {
        let error = client.manifest(repository, "1").await.unwrap_err();
        assert_eq!(error.is_transient(), transient, "{error}");
        assert!(error.to_string().contains(fragment), "{error}");
    }
    let gone = self::registries(&format!("127.0.0.1:{}", servers::port::free()));
    let error = gone.named("r").unwrap().1.tags("a").await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("cannot be reached"),
        "{error}"
    );
}

/// A registry that serves one image, and what `spoil` makes of its blobs.
async fn serving(
    spoil: impl Fn(&str, Vec<u8>) -> Answer + Send + Sync + 'static,
) -> (Fake, String) {
    let built = layout::image("hello");
    let name = digest(&built.manifest);
    let stated = name.clone();
    let fake = Fake::start(move |path, _| {
        let target = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/manifests/") {
            let headers = vec![("docker-content-digest", stated.clone())];
            return (200, headers, built.manifest.clone());
        }
        match built.blobs.iter().find(|(digest, _)| digest == target) {
            Some((digest, bytes)) => spoil(digest, bytes.clone()),
            None => (404, Vec::new(), Vec::new()),
        }
    })
    .await;
    (fake, name)
}

#[tokio::test]
async fn an_image_named_by_digest_is_pulled_once_and_then_needs_no_registry() {
    let (fake, name) = serving(|_, bytes| (200, Vec::new(), bytes)).await;
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), &fake.address);
    let tagged = format!("{}/demo:1", fake.address);
    let pulls = (0..4).map(|_| images.pull(&tagged));
    let pulled = futures_util::future::try_join_all(pulls).await.unwrap();
    assert!(pulled.windows(2).all(|pair| pair[0] == pair[1]));
    let image = &pulled[0];
    assert_eq!(image.digest, name);
    assert_eq!(image.reference, format!("{tagged}@{name}"));
    let content = std::fs::read_to_string(image.rootfs.join("srv/content")).unwrap();
    assert_eq!(content, "hello");
    assert!(!image.rootfs.join("srv/old").exists());
    assert_eq!(image.program("run"), Some(image.rootfs.join("bin/run")));
    let blobs = fake
        .asked()
        .iter()
        .filter(|a| a.line.contains("/blobs/"))
        .count();
    assert_eq!(blobs, 3, "one config and two layers, each once");

    let before = fake.asked().len();
    let again = self::images(folder.path(), &fake.address);
    let found = again.pull(&format!("{tagged}@{name}")).await.unwrap();
    assert_eq!(found, *image);
    assert_eq!(fake.asked().len(), before);
}

#[tokio::test]
async fn a_blob_that_is_cut_changed_or_padded_leaves_nothing_behind() {
    type Spoil = fn(Vec<u8>) -> Answer;
    let spoils: [(Spoil, &str); 3] = [
        (
            |bytes| (200, Vec::new(), [bytes, vec![0]].concat()),
            "has more than",
        ),
        (
            |mut bytes| {
                bytes[20] ^= 1;
                (200, Vec::new(), bytes)
            },
            "its bytes have digest",
        ),
        (
            |bytes| (200, Vec::new(), bytes[..50].to_vec()),
            "it has 50 bytes",
        ),
    ];
    for (spoil, fragment) in spoils {
        let config = layout::image("hello").blobs[0].0.clone();
        let (fake, _) = serving(move |digest, bytes| {
            if digest == config {
                (200, Vec::new(), bytes)
            } else {
                spoil(bytes)
            }
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let images = images(folder.path(), &fake.address);
        let error = images
            .pull(&format!("{}/demo:1", fake.address))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(fragment), "{error}");
        for name in ["rootfs", "scratch", "images"] {
            let left = std::fs::read_dir(folder.path().join(name)).unwrap().count();
            assert_eq!(left, 0, "{name} after: {error}");
        }
    }
}

#[tokio::test]
async fn an_image_of_an_unknown_registry_names_the_accounts_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), "127.0.0.1:1");
    let error = images.pull("r.example/x:1").await.unwrap_err().to_string();
    assert!(
        error.contains("no registry account covers") && error.contains("127.0.0.1:1"),
        "{error}"
    );
}

#[tokio::test]
async fn the_service_lists_and_resolves_through_the_accounts() {
    let fake = Fake::start(|path, _| match path {
        "/v2/_catalog?n=100" => ok(r#"{"repositories":["a","team/b"]}"#),
        "/v2/a/tags/list?n=100" => ok(r#"{"tags":["1","2"]}"#),
        "/v2/team/b/tags/list?n=100" => ok(r#"{"tags":["1"]}"#),
        "/v2/a/manifests/1" => {
            let digest = format!("sha256:{}", "a".repeat(64));
            (200, vec![("docker-content-digest", digest)], Vec::new())
        }
        _ => (404, Vec::new(), Vec::new()),
    })
    .await;
    let api = Api::new(registries(&fake.address));
    let of = |account: &str, repository: &str| {
        Request::new(RepositoryQuery {
            account: account.into(),
            repository: repository.into(),
        })
    };
    let names = api
        .list_repositories(of("r", ""))
        .await
        .unwrap()
        .into_inner()
        .names;
    assert_eq!(names, ["a", "team/b"]);
    let unknown = api.list_tags(of("x", "a")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(
        unknown.message().contains("known are: r"),
        "{}",
        unknown.message()
    );
    let query = |tag: &str| {
        Request::new(ImageQuery {
            account: "r".into(),
            repository: "a".into(),
            tag: tag.into(),
        })
    };
    let reply = api.get_digest(query("1")).await.unwrap().into_inner();
    assert!(reply.digest.starts_with("sha256:aaaa"));
    assert_eq!(
        api.get_digest(query("9")).await.unwrap_err().code(),
        Code::NotFound
    );
    let find = |query: &str, count| {
        Request::new(FindImagesRequest {
            account: String::new(),
            query: query.into(),
            count,
        })
    };
    for (query, count, expected) in [
        ("", 0, 3),
        ("team", 0, 1),
        (":2", 0, 1),
        ("", 2, 2),
        ("zz", 0, 0),
    ] {
        let found = api
            .find_images(find(query, count))
            .await
            .unwrap()
            .into_inner()
            .items;
        assert_eq!(found.len(), expected, "{query} {count}");
    }
}
