//! Peers that do not keep to the protocol: their connection ends, and nothing else happens.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use skerry_ipc::{Auth, ClientFrame, Hello, Input, MAX_INPUT_BYTES, Request, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::{BUILD, connect, exec, get, serve};

fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut framed = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    framed
}

fn hello() -> Vec<u8> {
    frame(&encode(&Hello { build: BUILD.to_owned(), program: "raw".to_owned() }).unwrap())
}

/// Sends bytes and reads until the server hangs up.
async fn send_and_wait(path: &Path, bytes: &[u8]) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    // The server may hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    let _ = read.expect("the server did not hang up");
}

async fn is_alive(path: &Path) {
    let client = connect(path).await;
    assert!(client.call(Auth::Peer, get("alive")).await.is_ok());
}

#[tokio::test]
async fn bytes_that_are_no_hello_or_no_request_end_the_connection() {
    let served = serve();
    send_and_wait(&served.path, &frame(b"\xff\xff\xff\xff\xff\xff\xff")).await;
    send_and_wait(&served.path, &frame(b"")).await;
    let after_hello = |bytes: &[u8]| [hello(), frame(bytes)].concat();
    send_and_wait(&served.path, &after_hello(b"\xff\xfe\xfd")).await;
    let request = ClientFrame::Request { id: 1, auth: Auth::Peer, request: Request::Summary };
    let mut trailing = encode(&request).unwrap().to_vec();
    trailing.push(0);
    send_and_wait(&served.path, &after_hello(&trailing)).await;
    is_alive(&served.path).await;
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_not_even_read() {
    let served = serve();
    send_and_wait(&served.path, &u32::MAX.to_be_bytes()).await;
    let announced = [hello(), (8 * 1024 * 1024 + 1_u32).to_be_bytes().to_vec()].concat();
    send_and_wait(&served.path, &announced).await;
    is_alive(&served.path).await;
}

#[tokio::test]
async fn one_id_for_two_open_requests_ends_the_connection() {
    let served = serve();
    let request = ClientFrame::Request { id: 1, auth: Auth::Peer, request: get("never") };
    let twice = frame(&encode(&request).unwrap()).repeat(2);
    send_and_wait(&served.path, &[hello(), twice].concat()).await;
    is_alive(&served.path).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let served = serve();
    let mut stream = UnixStream::connect(&served.path).await.unwrap();
    let started = tokio::time::Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(started.elapsed() <= Duration::from_secs(6));
}

#[tokio::test]
async fn cancels_and_room_for_unknown_requests_are_ignored() {
    let served = serve();
    let mut stream = UnixStream::connect(&served.path).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    for odd in [
        ClientFrame::Cancel { id: 77 },
        ClientFrame::More { id: 78, items: u32::MAX },
        ClientFrame::Request { id: 1, auth: Auth::Peer, request: Request::Summary },
        ClientFrame::More { id: 1, items: u32::MAX },
    ] {
        stream.write_all(&frame(&encode(&odd).unwrap())).await.unwrap();
    }
    let mut answer = [0; 64];
    assert!(stream.read(&mut answer).await.unwrap() > 0);
    is_alive(&served.path).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_harm_the_server(
        greeted: bool,
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..6),
        raw in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let served = serve();
            let mut bytes = if greeted { hello() } else { Vec::new() };
            for one in &frames {
                bytes.extend(frame(one));
            }
            bytes.extend(&raw);
            let mut stream = UnixStream::connect(&served.path).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let ended =
                tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
            prop_assert!(ended.is_ok(), "the server kept a broken connection");
            is_alive(&served.path).await;
            Ok(())
        })?;
    }
}

fn input(id: u32, input: Input) -> Vec<u8> {
    frame(&encode(&ClientFrame::Input { id, input }).unwrap())
}

fn open(id: u32, request: Request) -> Vec<u8> {
    frame(&encode(&ClientFrame::Request { id, auth: Auth::Peer, request }).unwrap())
}

#[tokio::test]
async fn inputs_beyond_the_window_end_the_connection() {
    let served = serve();
    let flood = input(1, Input::End).repeat(100);
    send_and_wait(&served.path, &[hello(), open(1, exec("deaf")), flood].concat()).await;
    is_alive(&served.path).await;
}

#[tokio::test]
async fn an_input_that_is_too_large_ends_the_connection() {
    let served = serve();
    let large = input(1, Input::Bytes(vec![0; MAX_INPUT_BYTES + 1]));
    send_and_wait(&served.path, &[hello(), open(1, exec("echo")), large].concat()).await;
    is_alive(&served.path).await;
}

#[tokio::test]
async fn an_input_for_what_takes_none_ends_the_connection() {
    let served = serve();
    let bytes = [hello(), open(1, get("never")), input(1, Input::End)].concat();
    send_and_wait(&served.path, &bytes).await;
    is_alive(&served.path).await;
}

#[tokio::test]
async fn an_input_for_an_unknown_request_is_ignored() {
    let served = serve();
    let mut stream = UnixStream::connect(&served.path).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    let mut bytes = [0; 256];
    assert!(stream.read(&mut bytes).await.unwrap() > 0);
    let odd = [input(9, Input::End).repeat(100), open(1, get("x"))].concat();
    stream.write_all(&odd).await.unwrap();
    assert!(stream.read(&mut bytes).await.unwrap() > 0, "the server hung up");
    is_alive(&served.path).await;
}
