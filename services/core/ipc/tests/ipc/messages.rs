//! Every message goes through the codec and comes back; bytes that are none are refused.

use proptest::option;
use proptest::prelude::*;
use skerry_ipc::{
    Action, Answer, Auth, Channel, ClientFrame, ExecQuery, FetchReport, Hello, HelloReply, Input,
    Json, ListQuery, LogQuery, PeerRole, PowerAction, PullEndpoint, PullOrder, PullReport,
    PullSignatures, PulledSignature, Refusal, RefusalClass, Request, ServerFrame, StreamItem,
    TerminalSize, decode, encode,
};
use skerry_model::{Hidden, ImageArchiveForm, Kind, Role, Since, Violation};
use uuid::Uuid;

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,24}"
}

fn json() -> impl Strategy<Value = Json> {
    text().prop_map(Json)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop::sample::select(Kind::ALL.to_vec())
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Viewer, Role::Operator, Role::Admin, Role::Auditor])
}

fn peer() -> impl Strategy<Value = PeerRole> {
    use PeerRole::{Console, Member, North, Root};
    prop::sample::select(vec![Root, North, Console, Member])
}

fn auth() -> impl Strategy<Value = Auth> {
    prop_oneof![Just(Auth::Peer), text().prop_map(Auth::Token)]
}

fn list_query() -> impl Strategy<Value = ListQuery> {
    let labels = prop::collection::vec((text(), text()), 0..3);
    (option::of(text()), labels, option::of(any::<u32>()), option::of(text())).prop_map(
        |(name_contains, labels, limit, after)| ListQuery { name_contains, labels, limit, after },
    )
}

fn log_query() -> impl Strategy<Value = LogQuery> {
    let since = any::<u32>().prop_map(Since::Ago);
    let flags = (any::<bool>(), any::<bool>());
    (kind(), text(), option::of(text()), any::<u32>(), option::of(since), flags).prop_map(
        |(kind, key, container, tail, since, (timestamps, follow))| LogQuery {
            kind,
            key,
            container,
            tail,
            since,
            timestamps,
            follow,
        },
    )
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..64)
}

fn size() -> impl Strategy<Value = TerminalSize> {
    (any::<u16>(), any::<u16>()).prop_map(|(cols, rows)| TerminalSize { cols, rows })
}

fn exec_query() -> impl Strategy<Value = ExecQuery> {
    let argv = prop::collection::vec(text(), 0..4);
    let env = prop::collection::vec((text(), text()), 0..3);
    (text(), option::of(text()), argv, env, option::of(size())).prop_map(
        |(key, container, argv, env, terminal)| ExecQuery { key, container, argv, env, terminal },
    )
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![bytes().prop_map(Input::Bytes), size().prop_map(Input::Resize), Just(Input::End)]
}

fn documents() -> impl Strategy<Value = Request> {
    let revision = || option::of(any::<u64>());
    prop_oneof![
        (kind(), list_query()).prop_map(|(kind, query)| Request::List { kind, query }),
        (kind(), text()).prop_map(|(kind, key)| Request::Get { kind, key }),
        (kind(), json(), any::<bool>()).prop_map(|(kind, document, dry_run)| Request::Create {
            kind,
            document,
            dry_run
        }),
        (kind(), text(), json(), revision()).prop_map(|(kind, key, document, if_revision)| {
            Request::Replace { kind, key, document, if_revision }
        }),
        (kind(), text(), json(), revision()).prop_map(|(kind, key, patch, if_revision)| {
            Request::Patch { kind, key, patch, if_revision }
        }),
        (kind(), text(), revision(), any::<bool>()).prop_map(
            |(kind, key, if_revision, with_volumes)| Request::Delete {
                with_volumes,
                kind,
                key,
                if_revision
            }
        ),
        (kind(), text()).prop_map(|(kind, key)| Request::Explain { kind, key }),
        (prop::collection::vec(json(), 0..3), any::<bool>())
            .prop_map(|(documents, dry_run)| Request::Apply { documents, dry_run }),
    ]
}

fn others() -> impl Strategy<Value = Request> {
    use Action::{
        Abort, ForceStop, Pause, Reboot, Reset, Restart, Resume, Retry, Start, Stop, Suspend,
    };
    let action = prop::sample::select(vec![
        Start, Stop, ForceStop, Restart, Abort, Retry, Pause, Resume, Reset, Reboot, Suspend,
    ]);
    let power = prop::sample::select(vec![PowerAction::Restart, PowerAction::PowerOff]);
    let plain = vec![
        Request::Summary,
        Request::Inventory,
        Request::ServerIdentity,
        Request::Logout,
        Request::WhoAmI,
        Request::Graph,
        Request::Export,
        Request::MayBringIn,
        Request::Fetches,
    ];
    prop_oneof![
        prop::sample::select(plain),
        (text(), text(), text(), text()).prop_map(|(code, username, password, origin)| {
            Request::Claim { code, username, password, origin }
        }),
        (text(), text(), text(), text()).prop_map(|(username, password, purpose, origin)| {
            Request::Login { username, password, purpose, origin }
        }),
        (kind(), text(), action).prop_map(|(kind, key, action)| Request::Act { kind, key, action }),
        (prop::collection::vec(kind(), 0..4), option::of(any::<u64>()))
            .prop_map(|(kinds, after)| Request::Watch { kinds, after }),
        log_query().prop_map(Request::Log),
        exec_query().prop_map(Request::Exec),
        text().prop_map(|key| Request::Serial { key }),
        (text(), option::of(text()))
            .prop_map(|(key, container)| Request::Attach { key, container }),
        text().prop_map(|key| Request::Screen { key }),
        text().prop_map(|key| Request::GuestReport { key }),
        text().prop_map(|key| Request::VmMetadata { key }),
        text().prop_map(|key| Request::PodStats { key }),
        any::<u32>().prop_map(|bits| Request::GuestMetadata { address: bits.into() }),
        (text(), text(), text()).prop_map(|(key, user, password)| {
            Request::SetGuestPassword { key, user, password: Hidden::new(password) }
        }),
        power.prop_map(Request::Power),
        (text(), prop::sample::select(vec![ImageArchiveForm::Oci, ImageArchiveForm::Docker]))
            .prop_map(|(key, form)| Request::ExportImage { key, form }),
        Just(Request::Pulls),
        (any::<u128>(), pull_report())
            .prop_map(|(job, report)| Request::Pulled { job: uuid::Uuid::from_u128(job), report }),
        (any::<u128>(), fetch_report())
            .prop_map(|(id, report)| Request::FetchReport { id: Uuid::from_u128(id), report }),
    ]
}

fn fetch_report() -> impl Strategy<Value = FetchReport> {
    prop_oneof![
        Just(FetchReport::Done),
        (any::<u64>(), option::of(any::<u64>()))
            .prop_map(|(done, total)| FetchReport::Progress { done, total }),
        (text(), any::<bool>()).prop_map(|(detail, retry)| FetchReport::Failed { detail, retry }),
    ]
}

fn pull_report() -> impl Strategy<Value = PullReport> {
    let blobs = prop::collection::vec((text(), any::<u64>()), 0..4);
    let signature =
        (bytes(), text()).prop_map(|(payload, signature)| PulledSignature { payload, signature });
    let signatures = prop::collection::vec(signature, 0..3);
    prop_oneof![
        (any::<u64>(), any::<u64>(), option::of(any::<u64>()))
            .prop_map(|(done, total, missing)| PullReport::Progress { done, total, missing }),
        (text(), blobs, signatures).prop_map(|(named, blobs, signatures)| PullReport::Done {
            named,
            blobs,
            signatures
        }),
        (text(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
            |(detail, retry, wait, unsigned)| PullReport::Failed { detail, retry, wait, unsigned }
        ),
    ]
}

fn pull_order() -> impl Strategy<Value = PullOrder> {
    let credentials = option::of((text(), text()));
    let endpoint = (text(), any::<bool>(), option::of(text()), credentials).prop_map(
        |(host, plain_http, ca_pem, credentials)| PullEndpoint {
            host,
            plain_http,
            ca_pem,
            credentials,
        },
    );
    let endpoints = prop::collection::vec(endpoint, 0..3);
    let have = prop::collection::vec(text(), 0..3);
    let signatures = prop::sample::select(vec![
        PullSignatures::Ignore,
        PullSignatures::Look,
        PullSignatures::Require,
    ]);
    (any::<u128>(), text(), endpoints, text(), have, any::<u64>(), signatures).prop_map(
        |(job, reference, endpoints, folder, have, limit, signatures)| PullOrder {
            job: uuid::Uuid::from_u128(job),
            reference,
            endpoints,
            folder,
            have,
            limit,
            signatures,
        },
    )
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    prop_oneof![
        (any::<u32>(), auth(), prop_oneof![documents(), others()])
            .prop_map(|(id, auth, request)| ClientFrame::Request { id, auth, request }),
        any::<u32>().prop_map(|id| ClientFrame::Cancel { id }),
        (any::<u32>(), any::<u32>()).prop_map(|(id, items)| ClientFrame::More { id, items }),
        (any::<u32>(), input()).prop_map(|(id, input)| ClientFrame::Input { id, input }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let items = prop::collection::vec(json(), 0..4);
    prop_oneof![
        prop::sample::select(vec![Answer::Done, Answer::Stream, Answer::TwoWay]),
        json().prop_map(Answer::Document),
        (items, any::<u64>(), option::of(text()))
            .prop_map(|(items, revision, next)| Answer::List { items, revision, next }),
        (text(), text(), role(), option::of(any::<u64>())).prop_map(
            |(token, username, role, expires_in_s)| Answer::Session {
                token,
                username,
                role,
                expires_in_s
            }
        ),
        (text(), role()).prop_map(|(username, role)| Answer::Principal { username, role }),
        (text(), text())
            .prop_map(|(certificates, private_key)| Answer::Identity { certificates, private_key }),
        text().prop_map(Answer::Text),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(Answer::Bytes),
    ]
}

fn class() -> impl Strategy<Value = RefusalClass> {
    use RefusalClass::{
        Capacity, Conflict, Forbidden, Gone, Internal, Invalid, NotFound, Stale, TooLarge,
        Unauthenticated, Unavailable,
    };
    let plain = vec![
        Unauthenticated,
        Forbidden,
        NotFound,
        Invalid,
        Conflict,
        Stale,
        Capacity,
        TooLarge,
        Gone,
        Unavailable,
        Internal,
    ];
    let wait = any::<u32>().prop_map(|retry_after_s| RefusalClass::TooMany { retry_after_s });
    prop_oneof![prop::sample::select(plain), wait]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let violation = (text(), text()).prop_map(|(field, message)| Violation { field, message });
    (class(), text(), prop::collection::vec(violation, 0..3))
        .prop_map(|(class, detail, violations)| Refusal { class, detail, violations })
}

fn item() -> impl Strategy<Value = StreamItem> {
    prop_oneof![
        text().prop_map(StreamItem::Line),
        prop::collection::vec(pull_order(), 0..2).prop_map(StreamItem::Pulls),
        any::<i32>().prop_map(StreamItem::Exit),
        (text(), any::<u64>()).prop_map(|(name, size)| StreamItem::File { name, size }),
        bytes().prop_map(StreamItem::Piece),
        (prop::sample::select(vec![Channel::Out, Channel::Err]), bytes())
            .prop_map(|(channel, bytes)| StreamItem::Output { channel, bytes }),
        (any::<u64>(), kind(), json(), any::<bool>()).prop_map(
            |(revision, kind, document, removed)| StreamItem::Change {
                revision,
                kind,
                document,
                removed
            }
        ),
    ]
}

fn server_frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        (any::<u32>(), answer()).prop_map(|(id, ok)| ServerFrame::Answer { id, result: Ok(ok) }),
        (any::<u32>(), refusal()).prop_map(|(id, no)| ServerFrame::Answer { id, result: Err(no) }),
        (any::<u32>(), item()).prop_map(|(id, item)| ServerFrame::Item { id, item }),
        (any::<u32>(), any::<u32>()).prop_map(|(id, inputs)| ServerFrame::Room { id, inputs }),
        (any::<u32>(), option::of(refusal()))
            .prop_map(|(id, error)| ServerFrame::End { id, error }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn what_a_client_says_round_trips(frame in client_frame()) {
        prop_assert_eq!(decode::<ClientFrame>(&encode(&frame).unwrap()).unwrap(), frame);
    }

    #[test]
    fn what_a_server_says_round_trips(frame in server_frame()) {
        prop_assert_eq!(decode::<ServerFrame>(&encode(&frame).unwrap()).unwrap(), frame);
    }

    #[test]
    fn hellos_round_trip(build in text(), program in text(), role in option::of(peer()),
                         refused in option::of(text())) {
        let hello = Hello { build: build.clone(), program };
        prop_assert_eq!(decode::<Hello>(&encode(&hello).unwrap()).unwrap(), hello);
        let reply = HelloReply { build, role, refused };
        prop_assert_eq!(decode::<HelloReply>(&encode(&reply).unwrap()).unwrap(), reply);
    }

    #[test]
    fn random_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode::<ClientFrame>(&bytes);
        let _ = decode::<ServerFrame>(&bytes);
        let _ = decode::<Hello>(&bytes);
        let _ = decode::<HelloReply>(&bytes);
    }

    #[test]
    fn a_cut_message_is_an_error(frame in client_frame(), cut: prop::sample::Index) {
        let bytes = encode(&frame).unwrap();
        let end = cut.index(bytes.len());
        prop_assert!(decode::<ClientFrame>(&bytes[..end]).is_err());
    }
}
