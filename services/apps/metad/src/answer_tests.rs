//! Every kind of question, and any question at all.

use proptest::prelude::*;
use skerry_model::{Hidden, MetadataEntry};
use uuid::Uuid;

use super::*;

fn guest() -> GuestMetadata {
    let entry =
        |path: &str, text: &str| MetadataEntry { path: path.to_owned(), text: Hidden::new(text) };
    let entries = vec![
        entry("latest/meta-data/hostname", "web"),
        entry("latest/user-data", "#!/bin/sh\necho swordfish\n"),
        entry("openstack/latest/meta_data.json", "{}"),
    ];
    GuestMetadata { vm: Uuid::from_u128(7), entries }
}

const TOKENS: Tokens = Tokens::new([7; 32]);

fn ask(asked: &Asked) -> Answered {
    let guest = guest();
    answer(asked, Telling { guest: Some(&guest), tokens: &TOKENS, now: 1000 })
}

fn get(path: &str) -> Asked {
    let host = Some("169.254.169.254".to_owned());
    Asked { path: path.to_owned(), host, ..Asked::default() }
}

fn put(ttl: Option<&str>) -> Asked {
    let ttl = ttl.map(ToOwned::to_owned);
    Asked { method: Method::PUT, ttl, ..get("/latest/api/token") }
}

#[test]
fn texts_and_folders_are_told_with_their_kind() {
    for (path, kind, text) in [
        ("/latest/meta-data/hostname", TEXT, "web"),
        ("/latest/user-data", BYTES, "#!/bin/sh\necho swordfish\n"),
        ("/openstack/latest/meta_data.json", JSON, "{}"),
        ("/latest/meta-data/", TEXT, "hostname"),
    ] {
        let told = ask(&get(path));
        assert_eq!((told.status, told.kind, told.text.as_str()), (StatusCode::OK, kind, text));
    }
    let head = Asked { method: Method::HEAD, ..get("/latest/user-data") };
    assert_eq!(ask(&head).status, StatusCode::OK);
    assert_eq!(ask(&get("/latest/dynamic/")).status, StatusCode::NOT_FOUND);
}

#[test]
fn who_is_told_nothing_learns_nothing() {
    let telling = Telling { guest: None, tokens: &TOKENS, now: 0 };
    let post = Asked { method: Method::POST, ..get("/latest/user-data") };
    for asked in [get("/"), get("/latest/user-data"), put(Some("60")), post] {
        assert_eq!(answer(&asked, telling).status, StatusCode::NOT_FOUND, "{asked:?}");
    }
}

#[test]
fn a_token_is_given_for_a_time_and_then_counts() {
    let told = ask(&put(Some("60")));
    assert_eq!(told.status, StatusCode::OK);
    assert_eq!(told.headers, [(TTL, "60".to_owned())]);
    let asked = Asked { token: Some(told.text), ..get("/latest/user-data") };
    assert_eq!(ask(&asked).status, StatusCode::OK);
    let guest = guest();
    let later = Telling { guest: Some(&guest), tokens: &TOKENS, now: 1060 };
    assert_eq!(answer(&asked, later).status, StatusCode::UNAUTHORIZED, "its time is over");
    let mut other = guest.clone();
    other.vm = Uuid::from_u128(8);
    let other = Telling { guest: Some(&other), ..later };
    let other = answer(&asked, Telling { now: 1000, ..other });
    assert_eq!(other.status, StatusCode::UNAUTHORIZED, "it was given to another guest");
}

#[test]
fn tokens_are_refused_as_clouds_refuse_them() {
    for ttl in [None, Some(""), Some("0"), Some("21601"), Some("-1"), Some("+60"), Some("1e3")] {
        assert_eq!(ask(&put(ttl)).status, StatusCode::BAD_REQUEST, "{ttl:?}");
    }
    assert_eq!(ask(&put(Some("21600"))).status, StatusCode::OK);
    let read = ask(&get("/latest/api/token"));
    assert_eq!(read.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(read.headers, [("allow", "PUT".to_owned())]);
    let wrong = Asked { token: Some("f00".to_owned()), ..get("/latest/meta-data/hostname") };
    assert_eq!(ask(&wrong).status, StatusCode::UNAUTHORIZED);
}

#[test]
fn questions_that_are_not_the_guests_own_are_refused() {
    for asked in [put(Some("60")), get("/latest/user-data")] {
        let forwarded = Asked { forwarded: true, ..asked.clone() };
        assert_eq!(ask(&forwarded).status, StatusCode::FORBIDDEN);
        let named = Asked { host: Some("evil.example".to_owned()), ..asked.clone() };
        assert_eq!(ask(&named).status, StatusCode::MISDIRECTED_REQUEST);
        let heavy = Asked { has_body: true, ..asked.clone() };
        assert_eq!(ask(&heavy).status, StatusCode::PAYLOAD_TOO_LARGE);
        for host in [None, Some("169.254.169.254:80".to_owned())] {
            assert_eq!(ask(&Asked { host, ..asked.clone() }).status, StatusCode::OK);
        }
    }
    for method in [Method::POST, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::CONNECT] {
        let told = ask(&Asked { method, ..get("/latest/user-data") });
        assert_eq!(told.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(told.headers, [("allow", "GET, HEAD".to_owned())]);
    }
}

proptest! {
    /// Whatever comes, the secret is told only to a plain question for it.
    #[test]
    fn any_question_is_answered_and_the_secret_only_where_it_is_asked_for(
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::PUT, Method::POST]),
        path in "(/(latest|2009-04-04|user-data|meta-data|api|token|\\.\\.|\\PC{0,6})){0,5}",
        host in prop::option::of("(169\\.254\\.169\\.254(:80)?|\\PC{0,20})"),
        forwarded in any::<bool>(),
        has_body in any::<bool>(),
        ttl in prop::option::of("\\PC{0,8}"),
        token in prop::option::of("\\PC{0,90}"),
    ) {
        let asked = Asked { method, path, host, forwarded, ttl, token, has_body };
        let told = ask(&asked);
        if told.text.contains("swordfish") {
            let plain = !asked.forwarded && !asked.has_body && asked.token.is_none();
            prop_assert!(plain && asked.path.ends_with("user-data"), "{:?}", asked);
            prop_assert!(asked.host.is_none_or(|host| host.starts_with("169.254.169.254")));
        }
        prop_assert!(told.headers.iter().all(|(_, value)| value.is_ascii()));
    }
}
