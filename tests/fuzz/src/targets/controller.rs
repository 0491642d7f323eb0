//! What reaches the controller: manifests, objects to review, tokens, certificate requests and xDS requests.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use prost::Message;
use serde_json::Value;
use warren_api::r#gen::discovery::DeltaDiscoveryRequest;
use warren_control::admission::review;
use warren_control::auth::Settings;
use warren_control::auth::jwks::Jwks;
use warren_control::ca::csr;
use warren_control::index::{Config, Index};
use warren_control::pipeline::SharedIndex;
use warren_control::source::dir::files::Files;
use warren_control::source::dir::scan::Outcome;
use warren_control::warning::WarningStore;
use warren_control::xds::session::Session;
use warren_control::xds::store::Store;

use crate::seeds::token;

/// What the xDS target's sessions see.
const MESH: &str = include_str!("../../corpus/manifest/shop.yaml");

pub(super) fn manifest(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let warnings = WarningStore::default();
    let (mut files, mut index) = (Files::new(warnings.clone()), Index::new(Config::default()));
    let file: Arc<str> = if data.starts_with(b"{") {
        "fuzz.json"
    } else {
        "fuzz.yaml"
    }
    .into();
    let read = Outcome {
        read: vec![(file.clone(), Ok(text))],
        ..Outcome::default()
    };
    let delta = index.apply(files.update(read));
    let store = Store::default();
    store.publish(&delta);
    for warning in warnings
        .all()
        .iter()
        .chain(delta.warnings.iter().flat_map(|(_, list)| list))
    {
        assert!(
            !warning.reason.is_empty() && !warning.next_step.is_empty(),
            "a warning that says nothing"
        );
    }
    let delta = index.apply(files.update(Outcome {
        gone: vec![file],
        ..Outcome::default()
    }));
    store.publish(&delta);
    assert_eq!(
        index.sizes(),
        (0, 0, 0),
        "something stayed behind when its file went"
    );
}

pub(super) fn admission(data: &[u8]) {
    static INDEX: LazyLock<SharedIndex> = LazyLock::new(|| SharedIndex::new(Config::default()));
    let Ok((answer, allowed)) = review::answer(data, &INDEX) else {
        return;
    };
    let response = &answer["response"];
    assert_eq!(response["allowed"], allowed);
    let message = response["status"]["message"].as_str();
    assert_eq!(message.is_some_and(|m| !m.is_empty()), !allowed);
}

pub(super) fn token(data: &[u8]) {
    static SETUP: LazyLock<(token::Key, tempfile::NamedTempFile)> = LazyLock::new(|| {
        let key = token::Key::new();
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), key.jwks()).expect("a temporary file can be written");
        (key, file)
    });
    let (key, jwks) = &*SETUP;
    thread_local!(static CHECKER: RefCell<Option<Jwks>> = const { RefCell::new(None) });
    CHECKER.with_borrow_mut(|checker| {
        let checker = checker.get_or_insert_with(|| {
            Jwks::new(Settings {
                jwks: jwks.path().to_owned(),
                issuer: token::ISSUER.into(),
                audiences: vec![token::AUDIENCE.into()],
            })
        });
        let text = String::from_utf8_lossy(data);
        assert!(
            checker.authenticate(&text).is_err(),
            "a token without our signature was taken: {text}"
        );
        // The same bytes as claims that our key has signed.
        if let Ok(claims) = serde_json::from_slice::<Value>(data)
            && let Ok(caller) = checker.authenticate(&key.sign(&claims))
        {
            assert!(
                !caller.namespace.is_empty() && !caller.service_account.is_empty(),
                "nobody was let in: {caller:?}"
            );
        }
    });
}

pub(super) fn csr(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for identity in ["spiffe://cluster.local/ns/shop/sa/web", ""] {
        let _ = csr::check(&text, identity);
    }
}

pub(super) fn xds_requests(data: &[u8]) {
    static STORE: LazyLock<Store> = LazyLock::new(|| {
        let read = Outcome {
            read: vec![("shop.yaml".into(), Ok(MESH.into()))],
            ..Outcome::default()
        };
        let events = Files::new(WarningStore::default()).update(read);
        let store = Store::default();
        store.publish(&Index::new(Config::default()).apply(events));
        store
    });
    let (mut session, mut rest, now) = (Session::default(), data, Instant::now());
    while let Ok(request) = DeltaDiscoveryRequest::decode_length_delimited(&mut rest) {
        if session.request(request, now).is_err()
            || session.collect(&STORE.read(), now).is_err()
            || rest.is_empty()
        {
            return;
        }
    }
}
