//! What goes both ways, or is long: programs, serial lines, screens, files.

use super::*;

#[tokio::test]
async fn a_program_in_a_container_talks_and_its_code_is_passed_on() {
    let node = Scripted::default();
    let output = |channel, text: &str| StreamItem::Output { channel, bytes: text.into() };
    let items = vec![
        output(Channel::Out, "one\x1b[1m\n"),
        output(Channel::Err, "two\n"),
        StreamItem::Exit(3),
    ];
    *node.streams.lock().unwrap() = [items].into();
    let (code, out, err) = at(&node, "exec web -i -e A=b -- cat -n", &["typed"]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (3, "one\x1b[1m\n", "two\n"));
    let query = ExecQuery {
        key: "web".into(),
        container: None,
        argv: vec!["cat".into(), "-n".into()],
        env: vec![("A".into(), "b".into())],
        terminal: None,
    };
    assert_eq!(node.request(), Request::Exec(query));

    let (code, _, err) = at(&node, "exec web -it -- sh", &[]).await;
    assert_eq!(code, exit::USAGE, "{err}");
    assert!(err.contains("needs a terminal"), "{err}");
    *node.streams.lock().unwrap() = [vec![]].into();
    let (code, _, err) = at(&node, "exec web -- sh", &[]).await;
    assert_eq!(code, exit::REFUSED);
    assert!(err.contains("before the program"), "{err}");
}

#[tokio::test]
async fn what_is_typed_goes_to_the_program_and_then_its_input_ends() {
    let inputs = Arc::new(Mutex::new(Vec::new()));
    let sink = Kept(Arc::clone(&inputs));
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    sender.send(b"one".to_vec()).await.unwrap();
    drop(sender);
    let typing = verbs::exec::send_all(&sink, Some(Keyboard::of(receiver)));
    let ended = tokio::time::timeout(Duration::from_millis(50), typing).await;
    assert!(ended.is_err(), "the end of the input is not the end of the program");
    assert_eq!(*inputs.lock().unwrap(), [Input::Bytes(b"one".to_vec()), Input::End]);
}

#[tokio::test]
async fn a_serial_line_is_left_with_a_key_of_its_own() {
    let node = Scripted::default();
    let output = StreamItem::Output { channel: Channel::Out, bytes: b"login: ".to_vec() };
    *node.streams.lock().unwrap() = [vec![output]].into();
    let (code, out, err) = at(&node, "vm console guest", &["root\r"]).await;
    assert_eq!((code, out.as_str()), (0, "login: "), "{err}");
    assert!(err.contains("Ctrl-] leaves"), "{err}");
    assert_eq!(node.request(), Request::Serial { key: "guest".into() });

    let inputs = Arc::new(Mutex::new(Vec::new()));
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    for typed in [&b"ls\r"[..], b"\x1d", b"never"] {
        sender.send(typed.to_vec()).await.unwrap();
    }
    let keyboard = Keyboard::of(receiver).leaving_with(0x1d);
    verbs::exec::send_all(&Kept(Arc::clone(&inputs)), Some(keyboard)).await;
    assert_eq!(*inputs.lock().unwrap(), [Input::Bytes(b"ls\r".to_vec())]);
}

#[tokio::test]
async fn a_viewer_on_this_machine_gets_the_screen() {
    let hello = || StreamItem::Output { channel: Channel::Out, bytes: b"RFB 003.008\n".to_vec() };
    let node = Scripted::default();
    *node.streams.lock().unwrap() = [vec![hello()], vec![hello()]].into();
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let viewer = tokio::spawn(async move {
        let mut viewer = loop {
            match tokio::net::TcpStream::connect(free).await {
                Ok(viewer) => break viewer,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let mut shown = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut viewer, &mut shown).await.unwrap();
        shown
    });
    let words = format!("vm screen guest --once --listen {free}");
    let (code, _, err) = with_files(&node, &words, &[], true).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains(&free.to_string()), "{err}");
    assert_eq!(viewer.await.unwrap(), b"RFB 003.008\n");
    assert_eq!(node.request(), Request::Screen { key: "guest".into() });
}

#[tokio::test]
async fn a_screen_is_not_shown_to_the_network() {
    let node = Scripted::default();
    let (code, _, err) = at(&node, "vm screen guest", &[]).await;
    assert_eq!(code, exit::USAGE, "no viewer at the node's own console: {err}");
    let open = "vm screen guest --listen 0.0.0.0:5900";
    let (code, _, err) = with_files(&node, open, &[], true).await;
    assert_eq!(code, exit::USAGE);
    assert!(err.contains("127.0.0.1") && node.requests.lock().unwrap().is_empty(), "{err}");
    let (code, _, err) = with_files(&node, "vm screen guest", &[], true).await;
    assert_eq!(code, exit::REFUSED, "nobody is told of a screen that is not there: {err}");
}

#[tokio::test]
async fn files_go_into_a_container_and_come_out_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().join("page.html");
    std::fs::write(&here, "hello").unwrap();
    let node = Scripted::default();
    *node.streams.lock().unwrap() = [vec![StreamItem::Exit(0)]].into();
    let words = format!("pod cp {} web:/www/", here.display());
    let (code, _, err) = with_files(&node, &words, &[], true).await;
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("1 files, 5 bytes"), "{err}");
    let Request::Exec(query) = node.request() else { panic!("no program") };
    assert_eq!(query.argv, ["tar", "-C", "/www", "-x", "-f", "-"]);
    let sent: Vec<Input> = std::mem::take(&mut *node.inputs.lock().unwrap());
    assert_eq!(sent.last(), Some(&Input::End));
    let stream = |input: &Input| match input {
        Input::Bytes(bytes) => bytes.clone(),
        _ => Vec::new(),
    };
    let bytes: Vec<u8> = sent.iter().flat_map(stream).collect();

    let out = StreamItem::Output { channel: Channel::Out, bytes };
    *node.streams.lock().unwrap() = [vec![out, StreamItem::Exit(0)]].into();
    let back = folder.path().join("back.html");
    let words = format!("pod cp web:/www/page.html {} -c main", back.display());
    let (code, _, err) = with_files(&node, &words, &[], true).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(std::fs::read(&back).unwrap(), b"hello");
    let Request::Exec(query) = node.request() else { panic!("no program") };
    assert_eq!(query.argv, ["tar", "-C", "/www", "-c", "-f", "-", "./page.html"]);
    assert_eq!(query.container.as_deref(), Some("main"));
}

#[tokio::test]
async fn a_copy_that_fails_says_why() {
    let node = Scripted::default();
    let said = StreamItem::Output { channel: Channel::Err, bytes: b"no such\x1b file".to_vec() };
    *node.streams.lock().unwrap() = [vec![said, StreamItem::Exit(1)]].into();
    let (code, _, err) = with_files(&node, "pod cp web:/none /tmp", &[], true).await;
    assert_eq!(code, exit::REFUSED);
    assert!(err.contains("no such? file") && err.contains("code 1"), "{err}");
    for words in ["pod cp web:/a db:/b", "pod cp /a /b", "pod cp /no/such/file web:/b"] {
        let (code, _, err) = with_files(&node, words, &[], true).await;
        assert_eq!(code, exit::USAGE, "{words}: {err}");
    }
    let (code, _, _) = at(&node, "pod cp web:/a b", &[]).await;
    assert_eq!(code, exit::USAGE, "no files at the node's own console");
}

#[tokio::test]
async fn an_image_is_exported_to_a_file_that_is_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("web.tar");
    let words = format!("image export web --format docker -o {}", target.display());
    let file = |size| StreamItem::File { name: "web.docker.tar".into(), size };
    let pieces = || [b"one".to_vec(), b"two".to_vec()].map(StreamItem::Piece);

    let node = Scripted::default();
    let whole: Vec<StreamItem> = [file(6)].into_iter().chain(pieces()).collect();
    let short: Vec<StreamItem> = [file(7)].into_iter().chain(pieces()).collect();
    *node.streams.lock().unwrap() =
        [short.clone(), whole.clone(), whole.clone(), vec![], short].into();
    let (code, _, err) = with_files(&node, &words, &[], true).await;
    assert_eq!(code, exit::REFUSED);
    assert!(err.contains("after 6 of 7 bytes"), "{err}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the part is removed");
    let request = Request::ExportImage { key: "web".into(), form: ImageArchiveForm::Docker };
    assert_eq!(node.request(), request);

    let (code, out, err) = with_files(&node, &words, &[], true).await;
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("100 % (6 of 6 bytes)"), "{err}");
    assert_eq!(std::fs::read(&target).unwrap(), b"onetwo");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    let (code, out, _) = with_files(&node, "image export web -o -", &[], true).await;
    assert_eq!((code, out.as_str()), (0, "onetwo"));
    node.request();
    let request = Request::ExportImage { key: "web".into(), form: ImageArchiveForm::Oci };
    assert_eq!(node.request(), request);

    let (code, _, err) = with_files(&node, &words, &[], true).await;
    assert_eq!(code, exit::REFUSED, "{err}");
    for words in [words.as_str(), "image export web -o -"] {
        let (code, _, err) = at(&node, words, &[]).await;
        assert_eq!(code, exit::USAGE, "no files at the node's own console: {err}");
    }
    let (code, _, _) = at(&node, "image export web --format tar -o -", &[]).await;
    assert_eq!(code, exit::USAGE);
    assert_eq!(std::fs::read(&target).unwrap(), b"onetwo", "what was there stays");
}
