//! Hellos, roles, and requests side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use skerry_ipc::{
    Answer, Auth, CallError, Client, ConnectError, Json, PeerRole, RefusalClass, Request,
};

use crate::support::{BUILD, connect, eventually, get, serve, serve_for};

#[tokio::test]
async fn the_peers_user_decides_its_role_and_the_handler_hears_of_it() {
    let seen = Arc::new(AtomicU32::new(u32::MAX));
    let roles_seen = Arc::clone(&seen);
    let served = serve_for(move |uid, _| {
        roles_seen.store(uid, Ordering::SeqCst);
        Some(PeerRole::Console)
    });
    let client = connect(&served.path).await;
    assert_eq!(client.role(), PeerRole::Console);
    let answer = client.call(Auth::Token("t".to_owned()), Request::Summary).await.unwrap();
    assert_eq!(answer, Answer::Text("Console Token(\"t\")".to_owned()));
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&served.path).unwrap());
    assert_eq!(seen.load(Ordering::SeqCst), own);
}

#[tokio::test]
async fn a_refused_hello_tells_the_reason() {
    let served = serve_for(|_, _| None);
    let error = Client::connect(&served.path, BUILD, "test").await.err().unwrap();
    assert!(
        matches!(&error, ConnectError::Refused { reason } if reason.contains("user")),
        "{error}"
    );

    let served = serve();
    let error = Client::connect(&served.path, "build-0", "old console").await.err().unwrap();
    let ConnectError::Refused { reason } = &error else { panic!("{error}") };
    for part in ["build-0", "build-1", "old console"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test]
async fn no_server_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.sock");
    let error = Client::connect(&path, BUILD, "test").await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_socket_that_an_earlier_process_left_is_replaced() {
    let served = serve();
    served.task.abort();
    assert!(served.path.exists());
    let handler = Arc::new(crate::support::Echo { counts: Arc::clone(&served.counts) });
    let role = |_: u32, _: u32| Some(PeerRole::Root);
    let server = skerry_ipc::Server::bind(&served.path, BUILD, role, handler).unwrap();
    let task = tokio::spawn(server.run(served.cancel.clone()));
    assert_eq!(connect(&served.path).await.role(), PeerRole::Root);
    task.abort();
}

#[tokio::test]
async fn answers_come_in_their_own_order_to_whoever_asked() {
    let served = serve();
    let client = connect(&served.path).await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.call(Auth::Peer, get("slow")).await }
    });
    let calls = (0..50).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { client.call(Auth::Peer, get(&n.to_string())).await })
    });
    for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await.unwrap().unwrap(), Answer::Document(Json(n.to_string())));
    }
    assert!(!slow.is_finished(), "a slow request must not hold up the others");
    assert_eq!(slow.await.unwrap().unwrap(), Answer::Document(Json("slow".to_owned())));
}

#[tokio::test]
async fn a_refusal_arrives_as_it_was_made() {
    let served = serve();
    let client = connect(&served.path).await;
    let error = client.call(Auth::Peer, Request::Logout).await.unwrap_err();
    let CallError::Refused(refusal) = error else { panic!("{error}") };
    assert_eq!(refusal.class, RefusalClass::Unauthenticated);
    assert_eq!(refusal.detail, "no such session");
}

#[tokio::test]
async fn a_panic_in_the_handler_is_an_answer_and_the_connection_lives() {
    let served = serve();
    let client = connect(&served.path).await;
    let error = client.call(Auth::Peer, get("panic")).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Refused(r) if r.class == RefusalClass::Internal),
        "{error}"
    );
    assert!(client.call(Auth::Peer, get("after")).await.is_ok());
}

#[tokio::test]
async fn too_large_in_either_direction_is_refused_and_the_connection_lives() {
    let served = serve();
    let client = connect(&served.path).await;
    let error = client.call(Auth::Peer, Request::Export).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Refused(r) if r.class == RefusalClass::TooLarge),
        "{error}"
    );
    let large = "x".repeat(9 * 1024 * 1024);
    let error = client.call(Auth::Peer, get(&large)).await.unwrap_err();
    assert!(matches!(error, CallError::Request(_)), "{error}");
    assert!(client.call(Auth::Peer, get("after")).await.is_ok());
}

#[tokio::test]
async fn giving_up_on_a_request_ends_its_work() {
    let served = serve();
    let client = connect(&served.path).await;
    let mut call = Box::pin(client.call(Auth::Peer, get("never")));
    let started =
        eventually("the request is at work", || served.counts.started.load(Ordering::SeqCst) == 1);
    tokio::select! {
        answer = &mut call => panic!("{answer:?}"),
        () = started => {}
    }
    drop(call);
    let counts = Arc::clone(&served.counts);
    eventually("the handler is dropped", || counts.calls_dropped.load(Ordering::SeqCst) == 1).await;
    assert!(client.call(Auth::Peer, get("after")).await.is_ok());
}

#[tokio::test]
async fn a_client_that_goes_ends_its_work() {
    let served = serve();
    let client = connect(&served.path).await;
    let call = tokio::spawn(async move { client.call(Auth::Peer, get("never")).await });
    eventually("the request is at work", || served.counts.started.load(Ordering::SeqCst) == 1)
        .await;
    call.abort();
    let counts = Arc::clone(&served.counts);
    eventually("the handler is dropped", || counts.calls_dropped.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn more_requests_than_allowed_at_once_are_refused_not_queued() {
    let served = serve();
    let client = connect(&served.path).await;
    let calls: Vec<_> = (0..70)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(Auth::Peer, get("never")).await })
        })
        .collect();
    eventually("six refusals", || calls.iter().filter(|call| call.is_finished()).count() == 6)
        .await;
    for call in calls {
        if call.is_finished() {
            let error = call.await.unwrap().unwrap_err();
            assert!(
                matches!(&error, CallError::Refused(r) if r.class == RefusalClass::Unavailable),
                "{error}"
            );
        } else {
            call.abort();
        }
    }
}

#[tokio::test]
async fn at_the_end_running_requests_are_answered_and_callers_hear_of_it() {
    let served = serve();
    let client = connect(&served.path).await;
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.call(Auth::Peer, get("slow")).await }
    });
    eventually("the request is at work", || served.counts.started.load(Ordering::SeqCst) == 1)
        .await;
    served.cancel.cancel();
    served.task.await.unwrap();
    assert!(slow.await.unwrap().is_ok());
    eventually("the client notices", || client.is_closed()).await;
    let error = client.call(Auth::Peer, get("late")).await.unwrap_err();
    assert!(matches!(error, CallError::Disconnected), "{error}");
}
