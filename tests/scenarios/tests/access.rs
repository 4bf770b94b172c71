//! Into containers: programs of people, who may run them, and how they end.

// A test ends where something is not as it should be.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

use std::time::Duration;

use futures::StreamExt;
use serde_json::json;
use skerry_ipc::{
    Auth, CallError, Channel, ExecQuery, Input, PeerRole, RefusalClass, Request, StreamItem,
    TerminalSize,
};
use skerry_model::Kind;
use skerry_scenarios_tests::{RunningNode, eventually};
use skerry_sim_host::SimHost;

const LIMIT: Duration = Duration::from_secs(20);

fn exec(key: &str, argv: &[&str]) -> ExecQuery {
    ExecQuery {
        key: key.to_owned(),
        container: None,
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: Vec::new(),
        terminal: None,
    }
}

async fn with_pod(node: &RunningNode) {
    let spec = json!({"containers": [{"name": "web", "image": "tiny"}, {"name": "side", "image": "tiny"}]});
    node.create(Kind::Pod, json!({"metadata": {"name": "two"}, "spec": spec})).await.unwrap();
    let spec = json!({"containers": [{"name": "web", "image": "tiny"}]});
    node.create(Kind::Pod, json!({"metadata": {"name": "web"}, "spec": spec})).await.unwrap();
    node.wait_state(Kind::Pod, "two", "running").await.unwrap();
    node.wait_state(Kind::Pod, "web", "running").await.unwrap();
}

async fn refusal(node: &RunningNode, query: ExecQuery) -> (RefusalClass, String) {
    match node.client.open_two_way(Auth::Peer, Request::Exec(query)).await.err().unwrap() {
        CallError::Refused(refusal) => (refusal.class, refusal.detail),
        other => panic!("{other}"),
    }
}

async fn none_left(host: &SimHost) {
    let count = || async {
        match host.programs() {
            0 => Ok(()),
            count => Err(format!("{count} programs run")),
        }
    };
    eventually(LIMIT, count).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_types_into_a_container_others_watch_and_leaving_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    with_pod(&node).await;
    let spec = json!({"containers": [{"name": "main", "image": "tiny", "stdin": true}], "restart": "never"});
    let made =
        node.create(Kind::Pod, json!({"metadata": {"name": "game"}, "spec": spec})).await.unwrap();
    node.wait_state(Kind::Pod, "game", "running").await.unwrap();
    let attach = |key: &str| Request::Attach { key: key.to_owned(), container: None };
    let line = |text: &str| StreamItem::Output { channel: Channel::Out, bytes: text.into() };
    match node.client.open_two_way(Auth::Peer, attach("web")).await.err().unwrap() {
        CallError::Refused(refusal) => assert!(refusal.detail.contains("`stdin`"), "{refusal:?}"),
        other => panic!("{other}"),
    }
    let (first, mut shown) = node.client.open_two_way(Auth::Peer, attach("game")).await.unwrap();
    let (second, mut watched) = node.client.open_two_way(Auth::Peer, attach("game")).await.unwrap();
    first.send(Input::Bytes(b"go north\n".to_vec())).await.unwrap();
    second.send(Input::Bytes(b"not heard\n".to_vec())).await.unwrap();
    assert_eq!(shown.next().await.unwrap().unwrap(), line("simulated container: up\n"));
    assert_eq!(shown.next().await.unwrap().unwrap(), line("heard go north\n"));
    let told = "-- somebody else types here; you only watch --\n";
    for text in [told, "simulated container: up\n", "heard go north\n"] {
        assert_eq!(watched.next().await.unwrap().unwrap(), line(text));
    }
    // The typist leaves: the container goes on, and the next one may type.
    drop((first, shown));
    let typed = || async {
        let (input, mut items) =
            node.client.open_two_way(Auth::Peer, attach("game")).await.unwrap();
        let first = items.next().await.unwrap().unwrap();
        if first == line(told) { Err("the keys are not free yet") } else { Ok((input, items)) }
    };
    let (input, items) = eventually(LIMIT, typed).await.unwrap();
    for text in ["go south", "sleep"] {
        input.send(Input::Bytes(text.into())).await.unwrap();
        assert_eq!(watched.next().await.unwrap().unwrap(), line(&format!("heard {text}\n")));
    }
    // Nobody takes what is typed now, until no more can be sent; the turn is free again all the same.
    let more = || input.send(Input::Bytes(b"hello".to_vec()));
    while tokio::time::timeout(Duration::from_millis(200), more()).await.is_ok() {}
    drop((input, items));
    let _third = eventually(LIMIT, typed).await.unwrap();
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    host.end_container(id, &"main".parse().unwrap(), skerry_containers::Exit::Code(3));
    assert_eq!(watched.next().await.unwrap().unwrap(), StreamItem::Exit(3));
    assert!(watched.next().await.is_none());
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sits_at_a_containers_terminal_and_the_size_is_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let spec = |stdin: bool| json!({"containers": [{"name": "main", "image": "tiny", "stdin": stdin, "tty": true}]});
    let pod = |name: &str, stdin| json!({"metadata": {"name": name}, "spec": spec(stdin)});
    let refused = format!("{:?}", node.create(Kind::Pod, pod("bad", false)).await.unwrap_err());
    assert!(refused.contains("tty") && refused.contains("needs `stdin`"), "{refused}");
    let made = node.create(Kind::Pod, pod("shell", true)).await.unwrap();
    node.wait_state(Kind::Pod, "shell", "running").await.unwrap();
    let attach = || Request::Attach { key: "shell".to_owned(), container: None };
    let shown = |text: &str| StreamItem::Output { channel: Channel::Out, bytes: text.into() };
    let (first, mut items) = node.client.open_two_way(Auth::Peer, attach()).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), shown("$ "), "no end of a line is waited for");
    for (cols, rows) in [(0, 24), (2000, 24), (120, 50)] {
        first.send(Input::Resize(TerminalSize { cols, rows })).await.unwrap();
    }
    assert_eq!(items.next().await.unwrap().unwrap(), shown("120x50\r\n"));
    first.send(Input::End).await.unwrap();
    first.send(Input::Bytes(b"\x03".to_vec())).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), shown("\u{3}"));
    let (second, mut watched) = node.client.open_two_way(Auth::Peer, attach()).await.unwrap();
    second.send(Input::Resize(TerminalSize { cols: 1, rows: 1 })).await.unwrap();
    for text in ["-- somebody else types here; you only watch --\n", "$ "] {
        assert_eq!(watched.next().await.unwrap().unwrap(), shown(text));
    }
    let id = made["metadata"]["id"].as_str().unwrap().parse().unwrap();
    host.end_container(id, &"main".parse().unwrap(), skerry_containers::Exit::Code(3));
    assert_eq!(watched.next().await.unwrap().unwrap(), StreamItem::Exit(3));
    assert_eq!(items.next().await.unwrap().unwrap(), StreamItem::Exit(3));
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_in_containers_talk_and_end() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    with_pod(&node).await;
    let output = |channel, text: &str| StreamItem::Output { channel, bytes: text.into() };
    let open = |query| node.client.open_two_way(Auth::Peer, Request::Exec(query));

    let (_input, items) = open(exec("web", &["echo", "a", "b"])).await.unwrap();
    let items: Vec<_> = items.map(Result::unwrap).collect().await;
    assert_eq!(items, [output(Channel::Out, "a b\n"), StreamItem::Exit(0)]);
    let (_input, items) = open(exec("web", &["false"])).await.unwrap();
    let items: Vec<_> = items.map(Result::unwrap).collect().await;
    assert_eq!(items, [output(Channel::Err, "it fails\n"), StreamItem::Exit(1)]);

    let side = ExecQuery { container: Some("side".into()), ..exec("two", &["size"]) };
    let sized = ExecQuery { terminal: Some(TerminalSize { cols: 80, rows: 24 }), ..side };
    let (input, mut items) = open(sized).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), output(Channel::Out, "80x24\r\n"));
    // A size that cannot be is left out.
    for (cols, rows) in [(0, 5), (100, 50)] {
        input.send(Input::Resize(TerminalSize { cols, rows })).await.unwrap();
    }
    assert_eq!(items.next().await.unwrap().unwrap(), output(Channel::Out, "100x50\r\n"));
    input.send(Input::End).await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), StreamItem::Exit(0));
    none_left(&host).await;

    let (_input, items) = open(exec("web", &["sleep"])).await.unwrap();
    assert_eq!(host.programs(), 1);
    drop(items);
    none_left(&host).await;
    let (_input, _items) = open(exec("web", &["sleep"])).await.unwrap();
    node.stop().await.unwrap();
    none_left(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    with_pod(&node).await;
    let large = "x".repeat(70_000);
    for (query, class, words) in [
        (exec("none", &["echo"]), RefusalClass::NotFound, "none"),
        (exec("two", &["echo"]), RefusalClass::Invalid, "web, side"),
        (exec("web", &[]), RefusalClass::Invalid, "command"),
        (exec("web", &[""]), RefusalClass::Invalid, "command"),
        (exec("web", &["echo", &large]), RefusalClass::Invalid, "at most"),
        (exec("web", &["echo", "a\0b"]), RefusalClass::Invalid, "zero byte"),
    ] {
        let (found, detail) = refusal(&node, query).await;
        assert_eq!(found, class, "{detail}");
        assert!(detail.contains(words), "{detail}");
    }
    let other = ExecQuery { container: Some("db".into()), ..exec("web", &["echo"]) };
    assert_eq!(refusal(&node, other).await.0, RefusalClass::Invalid);
    let size = Some(TerminalSize { cols: 0, rows: 24 });
    let flat = ExecQuery { terminal: size, ..exec("web", &["echo"]) };
    assert_eq!(refusal(&node, flat).await.0, RefusalClass::Invalid);
    let stop =
        Request::Act { kind: Kind::Pod, key: "web".into(), action: skerry_ipc::Action::Stop };
    node.ask(stop).await.unwrap();
    node.wait_state(Kind::Pod, "web", "stopped").await.unwrap();
    let (class, detail) = refusal(&node, exec("web", &["echo"])).await;
    assert_eq!(class, RefusalClass::Conflict);
    assert!(detail.contains("does not run"), "{detail}");
    none_left(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stands_at_the_machine_needs_a_session_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start_as(folder.path(), &host, PeerRole::Console).await.unwrap();
    let (class, _) = refusal(&node, exec("web", &["echo"])).await;
    assert_eq!(class, RefusalClass::Unauthenticated);
}

async fn read(
    items: &mut (impl futures::Stream<Item = Result<StreamItem, CallError>> + Unpin),
    until: &str,
) -> String {
    let mut text = String::new();
    while !text.contains(until) {
        match items.next().await.unwrap_or_else(|| panic!("`{text}` and then the end")) {
            Ok(StreamItem::Output { channel: Channel::Out, bytes }) => {
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            other => panic!("{other:?}"),
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serial_line_shows_the_past_and_one_types() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    let spec =
        json!({"metadata": {"name": "guest"}, "spec": {"image": "tiny-vm", "memory_mib": 128}});
    node.create(Kind::Vm, spec).await.unwrap();
    node.wait_state(Kind::Vm, "guest", "running").await.unwrap();
    let open = || node.client.open_two_way(Auth::Peer, Request::Serial { key: "guest".into() });

    let (input, mut first) = open().await.unwrap();
    assert!(read(&mut first, "guest: up").await.contains("booting"));
    let (deaf, mut second) = open().await.unwrap();
    assert!(read(&mut second, "only watch").await.contains("guest: up"));
    deaf.send(Input::Bytes(b"unheard".to_vec())).await.unwrap();
    input.send(Input::Bytes(b"hello".to_vec())).await.unwrap();
    assert_eq!(read(&mut first, "HELLO").await, "HELLO");
    assert_eq!(read(&mut second, "HELLO").await, "HELLO", "what the other typed is not there");

    drop((input, first));
    // Whoever comes next types, and sees what was said before.
    let (input, mut third) = eventually(LIMIT, || async {
        let (input, mut items) = open().await.map_err(|e| e.to_string())?;
        let text = read(&mut items, "HELLO").await;
        input.send(Input::Bytes(b"x".to_vec())).await.map_err(|e| e.to_string())?;
        match tokio::time::timeout(Duration::from_millis(200), read(&mut items, "X")).await {
            Ok(_) => Ok((input, items)),
            Err(_) => Err(format!("no keys: {text}")),
        }
    })
    .await
    .unwrap();
    input.send(Input::Bytes(b"off\r".to_vec())).await.unwrap();
    while let Some(item) = third.next().await {
        item.unwrap();
    }
    let refused = open().await.err().unwrap();
    assert!(matches!(refused, CallError::Refused(r) if r.class == RefusalClass::Conflict));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_is_shown_to_all_who_look_and_takes_keys() {
    let folder = tempfile::tempdir().unwrap();
    let host = SimHost::new();
    let node = RunningNode::start(folder.path(), &host).await.unwrap();
    for (name, graphics) in [("guest", "vnc"), ("blind", "none")] {
        let spec = json!({"image": "tiny-vm", "memory_mib": 64, "graphics": graphics});
        node.create(Kind::Vm, json!({"metadata": {"name": name}, "spec": spec})).await.unwrap();
        node.wait_state(Kind::Vm, name, "running").await.unwrap();
    }
    let open =
        |key: &str| node.client.open_two_way(Auth::Peer, Request::Screen { key: key.into() });
    let (input, mut items) = open("guest").await.unwrap();
    let (_other, mut others) = open("guest").await.unwrap();
    assert_eq!(read(&mut items, "\n").await, "RFB 003.008\n");
    assert_eq!(read(&mut others, "\n").await, "RFB 003.008\n");
    for (said, heard) in [(&b"RFB 003.008\n"[..], 2), (&[1], 4), (&[1], 27)] {
        input.send(Input::Bytes(said.to_vec())).await.unwrap();
        let Ok(StreamItem::Output { bytes, .. }) = items.next().await.unwrap() else { panic!() };
        assert_eq!(bytes.len(), heard);
    }
    let press = [4, 1, 0, 0, 0, 0, 0, b'k'];
    let ask = [3, 0, 0, 0, 0, 0, 0, 64, 0, 48];
    input.send(Input::Bytes([&press[..], &ask].concat())).await.unwrap();
    let Ok(StreamItem::Output { bytes, .. }) = items.next().await.unwrap() else { panic!() };
    assert_eq!((bytes.len(), bytes[16]), (16 + 64 * 48 * 4, b'k'));

    let CallError::Refused(refusal) = open("blind").await.err().unwrap() else { panic!() };
    assert_eq!(refusal.class, RefusalClass::Conflict);
    assert!(refusal.detail.contains("`graphics`"), "{}", refusal.detail);
    let patch = skerry_ipc::Json(json!({"spec": {"graphics": "vnc"}}).to_string());
    let key = "blind".to_owned();
    node.ask(Request::Patch { kind: Kind::Vm, key, patch, if_revision: None }).await.unwrap();
    let CallError::Refused(refusal) = open("blind").await.err().unwrap() else { panic!() };
    assert!(refusal.detail.contains("restart"), "{}", refusal.detail);
}
