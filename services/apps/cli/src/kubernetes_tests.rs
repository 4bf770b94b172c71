use proptest::prelude::*;
use skerry_model::{Invalid, PodSpec, Validate};

use super::container::{mebibytes, milli};
use super::*;

const FULL: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: default
  labels: {app: web}
spec:
  replicas: 1
  minReadySeconds: 5
  progressDeadlineSeconds: 60
  revisionHistoryLimit: 3
  strategy: {type: Recreate}
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
    spec:
      terminationGracePeriodSeconds: 7
      securityContext: {runAsUser: 1000, runAsGroup: 1001}
      initContainers:
      - name: prepare
        image: tiny
        command: [/bin/true]
        resources: {limits: {memory: 16Mi}}
      containers:
      - name: web
        image: tiny
        imagePullPolicy: IfNotPresent
        args: ["-v"]
        workingDir: /srv
        env:
        - {name: A, value: "1"}
        - name: MOTD
          valueFrom: {configMapKeyRef: {name: app, key: motd}}
        - name: TOKEN
          valueFrom: {secretKeyRef: {name: keys, key: token}}
        ports:
        - {name: http, containerPort: 8080, hostPort: 80}
        resources:
          limits: {cpu: "1.5", memory: 64Mi}
          requests: {cpu: 250m, memory: 33554433}
        securityContext:
          readOnlyRootFilesystem: true
          allowPrivilegeEscalation: false
          capabilities: {drop: [ALL]}
        volumeMounts:
        - {name: conf, mountPath: /conf, readOnly: true}
        - {name: tmp, mountPath: /tmp}
        readinessProbe:
          httpGet: {path: /ready, port: http}
          periodSeconds: 2
        livenessProbe:
          exec: {command: [/bin/true]}
          failureThreshold: 5
      volumes:
      - name: conf
        configMap: {name: app, defaultMode: 256}
      - name: tmp
        emptyDir: {medium: Memory, sizeLimit: 8Mi}
"#;

fn read(text: &str) -> Value {
    serde_saphyr::from_multiple::<Value>(text).unwrap().remove(0)
}

#[test]
fn what_is_supported_becomes_a_pod_of_this_node() {
    let made = convert(read(FULL)).unwrap();
    assert_eq!(made["kind"], "Pod");
    assert_eq!(made["metadata"], json!({"name": "web", "labels": {"app": "web"}}));
    let spec: PodSpec = serde_json::from_value(made["spec"].clone()).unwrap();
    let mut found = Invalid::default();
    spec.validate(&mut found);
    assert_eq!(found.into_result(), Ok(()), "the node takes it");
    let web = &spec.containers[0];
    assert_eq!((web.memory_mib, web.memory_request_mib), (64, Some(33)));
    assert_eq!((web.cpu_limit_m, web.cpu_request_m), (Some(1500), 250));
    assert_eq!((web.user.as_str(), web.read_only_root), ("1000:1001", true));
    assert_eq!(spec.init[0].user, "1000:1001");
    assert_eq!((spec.publish[0].host_port, spec.publish[0].workload_port), (80, 8080));
    assert_eq!((spec.update.min_ready_s, spec.update.history), (5, 3));
    assert_eq!(spec.stop_timeout_s, 7);
    let check = &web.readiness.as_ref().unwrap().check;
    assert_eq!(
        serde_json::to_value(check).unwrap(),
        json!({"http": {"port": 8080, "path": "/ready"}})
    );
    assert_eq!(made["spec"]["volumes"][0]["source"]["config"]["mode"], "0400");
    assert_eq!(made["spec"]["volumes"][1]["source"]["empty"]["size_mib"], 8);
    assert_eq!(web.env[2].secret.as_ref().unwrap().key, "token");
}

#[test]
fn huge_pages_and_folders_in_them_are_taken() {
    let with = |limits: Value, requests: Value, medium: &str| {
        let mut manifest = read(FULL);
        let pod = &mut manifest["spec"]["template"]["spec"];
        pod["containers"][0]["resources"] = json!({"limits": limits, "requests": requests});
        pod["volumes"][1] =
            json!({"name": "tmp", "emptyDir": {"medium": medium, "sizeLimit": "4Mi"}});
        convert(manifest)
    };
    let limits = json!({"memory": "64Mi", "hugepages-2Mi": "8Mi", "hugepages-1Gi": "1Gi"});
    let made = with(limits.clone(), json!({"hugepages-2Mi": "8Mi"}), "HugePages-2Mi").unwrap();
    let spec: PodSpec = serde_json::from_value(made["spec"].clone()).unwrap();
    let mut found = Invalid::default();
    spec.validate(&mut found);
    assert_eq!(found.into_result(), Ok(()), "the node takes it");
    let pages: Vec<(u64, u64)> =
        spec.containers[0].huge_pages.iter().map(|it| (it.size.mib(), it.mib)).collect();
    assert_eq!(pages, [(2, 8), (1024, 1024)]);
    let empty = &made["spec"]["volumes"][1]["source"]["empty"];
    assert_eq!(*empty, json!({"medium": "huge_pages_2Mi", "size_mib": 4}));

    let refused = |limits: Value, requests: Value, medium: &str| {
        with(limits, requests, medium).unwrap_err().join("; ")
    };
    let more = refused(limits.clone(), json!({"hugepages-2Mi": "10Mi"}), "HugePages-2Mi");
    assert!(more.contains("requests.hugepages: must be what the limits say"), "{more}");
    let odd = refused(json!({"memory": "1Mi", "hugepages-2Mi": "x"}), json!({}), "Memory");
    assert!(odd.contains("limits.hugepages-2Mi: is no quantity"), "{odd}");
    let strange = refused(json!({"memory": "1Mi", "hugepages-64Ki": "1Mi"}), json!({}), "Memory");
    assert!(strange.contains("limits.hugepages-64Ki: not supported"), "{strange}");
    assert!(refused(limits, json!({}), "HugePages").contains("emptyDir.medium: must be"));
}

#[test]
fn everything_that_is_not_supported_is_named_at_once() {
    let mut manifest = read(FULL);
    manifest["metadata"]["annotations"] = json!({"a": "b"});
    manifest["spec"]["replicas"] = json!(3);
    let pod = &mut manifest["spec"]["template"]["spec"];
    pod["hostPID"] = json!(true);
    pod["nodeSelector"] = json!({});
    pod["containers"][0]["lifecycle"] = json!({});
    pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = json!(1);
    pod["containers"][0]["env"][1]["valueFrom"]["fieldRef"] = json!({});
    pod["volumes"][0] = json!({"name": "conf", "hostPath": {"path": "/"}});
    let named: Vec<String> = convert(manifest)
        .unwrap_err()
        .into_iter()
        .map(|line| line.split(':').next().unwrap().to_owned())
        .collect();
    let pod = "spec.template.spec";
    for expected in [
        "metadata.annotations".to_owned(),
        "spec.replicas".to_owned(),
        format!("{pod}.hostPID"),
        format!("{pod}.nodeSelector"),
        format!("{pod}.containers[0].lifecycle"),
        format!("{pod}.containers[0].resources.limits.nvidia.com/gpu"),
        format!("{pod}.containers[0].env[1].valueFrom.fieldRef"),
        format!("{pod}.volumes[0].hostPath"),
    ] {
        assert!(named.contains(&expected), "{expected} in {named:?}");
    }
    assert_eq!(named.len(), 8, "{named:?}");
}

#[test]
fn the_nodes_network_and_privileges_are_taken_as_they_are() {
    let mut manifest = read(FULL);
    let pod = &mut manifest["spec"]["template"]["spec"];
    pod["hostNetwork"] = json!(true);
    pod["containers"][0]["ports"][0]["hostPort"] = json!(8080);
    pod["containers"][0]["securityContext"] =
        json!({"privileged": true, "allowPrivilegeEscalation": true});
    let made = convert(manifest).unwrap();
    assert_eq!(made["spec"]["host_network"], true);
    assert_eq!(made["spec"]["containers"][0]["privileged"], true);
    assert!(made["spec"].get("publish").is_none_or(|list| list == &json!([])));
}

#[test]
fn users_are_as_the_manifest_says_and_else_as_the_node_does() {
    let with = |users: Value| {
        let mut manifest = read(FULL);
        manifest["spec"]["template"]["spec"]["hostUsers"] = users;
        convert(manifest)
    };
    for (users, wanted) in [(json!(true), json!("host")), (json!(false), json!("pod"))] {
        assert_eq!(with(users).unwrap()["spec"]["user_namespace"], wanted);
    }
    assert_eq!(with(Value::Null).unwrap()["spec"].get("user_namespace"), None);
    let refused = with(json!("yes")).unwrap_err();
    assert!(refused[0].starts_with("spec.template.spec.hostUsers"), "{refused:?}");
}

#[test]
fn other_kinds_are_refused_and_values_become_configs_and_secrets() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}});
    assert!(convert(service).unwrap_err()[0].contains("Service"));
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"},
        "data": {"motd": "hello"}});
    assert_eq!(convert(map).unwrap()["spec"], json!({"data": {"motd": "hello"}}));
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "data": {"token": "eA=="}});
    assert!(convert(secret).unwrap_err()[0].contains("stringData"));
}

#[test]
fn quantities_are_read_as_kubernetes_writes_them() {
    for (text, mib) in [
        ("64Mi", Some(64)),
        ("1Gi", Some(1024)),
        ("1M", Some(1)),
        ("1", Some(1)),
        ("1.5Gi", None),
        ("", None),
        ("Mi", None),
        ("99999999999Ti", None),
    ] {
        assert_eq!(mebibytes(&json!(text)), mib, "{text}");
    }
    for (text, milli_cpus) in [
        ("1", Some(1000)),
        ("0.25", Some(250)),
        ("250m", Some(250)),
        ("1.2345", None),
        ("x", None),
        ("-1", None),
    ] {
        assert_eq!(milli(&json!(text)), milli_cpus, "{text}");
    }
    assert_eq!(milli(&json!(2)), Some(2000));
}

/// Manifests in which every field that is read is given.
fn every_field() -> Vec<Value> {
    let mut deployment = read(FULL);
    deployment["status"] = json!({"replicas": 1});
    deployment["spec"]["paused"] = json!(true);
    let template = &mut deployment["spec"]["template"]["spec"];
    template["restartPolicy"] = json!("Always");
    let pod = read(
        r#"
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {app: web}}
spec:
  restartPolicy: OnFailure
  hostNetwork: true
  hostUsers: true
  hostPID: false
  hostIPC: false
  dnsPolicy: Default
  schedulerName: default-scheduler
  terminationGracePeriodSeconds: 7
  securityContext: {runAsUser: 1000, runAsGroup: 1001}
  containers:
  - name: web
    image: tiny
    imagePullPolicy: Never
    command: [/bin/a]
    args: ["-v"]
    workingDir: /srv
    stdin: true
    tty: true
    env:
    - {name: A, value: "1"}
    - {name: B, valueFrom: {configMapKeyRef: {name: app, key: motd, optional: false}}}
    - {name: C, valueFrom: {secretKeyRef: {name: keys, key: token, optional: false}}}
    ports:
    - {name: http, containerPort: 8080, hostPort: 80, protocol: TCP}
    resources:
      limits: {cpu: "1.5", memory: 64Mi, hugepages-2Mi: 8Mi}
      requests: {cpu: 250m, memory: 32Mi, hugepages-2Mi: 8Mi}
    securityContext:
      privileged: true
      allowPrivilegeEscalation: true
      readOnlyRootFilesystem: true
      runAsUser: 5
      runAsGroup: 6
      capabilities: {add: [NET_ADMIN], drop: [ALL]}
    volumeMounts:
    - {name: conf, mountPath: /conf, readOnly: true}
    startupProbe:
      tcpSocket: {port: 8080}
      initialDelaySeconds: 1
      periodSeconds: 2
      timeoutSeconds: 3
      failureThreshold: 4
      successThreshold: 1
    livenessProbe: {exec: {command: [/bin/true]}}
    readinessProbe: {httpGet: {path: /ready, port: http, scheme: HTTP}}
  volumes:
  - {name: conf, configMap: {name: app, defaultMode: 256, optional: false}}
  - {name: keys, secret: {secretName: keys, defaultMode: 256, optional: false}}
  - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
  - {name: data, persistentVolumeClaim: {claimName: data, readOnly: true}}
"#,
    );
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"},
        "data": {"motd": "hello"}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
        "type": "Opaque", "stringData": {"token": "x"}});
    vec![deployment, pod, map, secret]
}

/// Every place in a document, by JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    if !at.is_empty() {
        found.push(at.to_owned());
    }
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                places(inner, &format!("{at}/{}", key.replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                places(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Whether one may stand where the other does.
fn is_of_the_type(place: &str, wrong: &Value, given: &Value) -> bool {
    let key = place.rsplit('/').next().unwrap();
    let quantity = matches!(key, "cpu" | "memory" | "sizeLimit") || key.starts_with("hugepages-");
    match wrong {
        // Quantities are written both ways, and so are the ports of probes; this text is neither.
        Value::Number(number) if quantity => number.is_u64() || (key == "cpu" && number.is_f64()),
        Value::Number(number) if key == "port" => number.is_u64(),
        Value::Number(number) => given.is_u64() && number.is_u64(),
        Value::String(_) => given.is_string() && !quantity && key != "port",
        Value::Bool(_) => given.is_boolean(),
        Value::Array(items) => given.is_array() && items.is_empty(),
        Value::Object(fields) => given.is_object() && fields.is_empty(),
        Value::Null => true,
    }
}

#[test]
fn a_value_of_a_wrong_type_is_refused_wherever_it_stands() {
    let wrong = [
        json!(true),
        json!(5),
        json!(-1),
        json!(1.5),
        json!(4_294_967_296_u64 * 4_294_967_295),
        json!("1000x"),
        json!([]),
        json!([5]),
        json!({}),
        json!({"x": 5}),
    ];
    let mut tried = 0;
    for manifest in every_field() {
        assert_eq!(convert(manifest.clone()).map(|_| ()), Ok(()), "{manifest}");
        let mut all = Vec::new();
        places(&manifest, "", &mut all);
        for place in &all {
            let given = manifest.pointer(place).unwrap().clone();
            for wrong in wrong.iter().filter(|wrong| !is_of_the_type(place, wrong, &given)) {
                // What was before is for nobody to read.
                if place.starts_with("/status/") || (place == "/status" && wrong.is_object()) {
                    continue;
                }
                let mut changed = manifest.clone();
                *changed.pointer_mut(place).unwrap() = wrong.clone();
                let made = convert(changed);
                assert!(made.is_err(), "{place} = {wrong} became {}", made.unwrap());
                tried += 1;
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn what_decides_who_rules_is_never_guessed() {
    let with = |place: &str, value: Value| {
        let mut manifest = every_field().remove(1);
        *manifest.pointer_mut(place).unwrap() = value;
        convert(manifest).unwrap_err().join("; ")
    };
    let security = "/spec/containers/0/securityContext";
    for (place, value, told) in [
        ("/spec/hostNetwork".to_owned(), json!("true"), "spec.hostNetwork: must be true or false"),
        (format!("{security}/privileged"), json!("true"), "privileged: must be true or false"),
        (format!("{security}/runAsUser"), json!("1000"), "runAsUser: must be a whole number"),
        (format!("{security}/runAsUser"), json!(-1), "runAsUser: must be a whole number"),
        (format!("{security}/runAsUser"), json!(1000.0), "runAsUser: must be a whole number"),
        (format!("{security}/runAsGroup"), json!("0"), "runAsGroup: must be a whole number"),
        ("/spec/restartPolicy".to_owned(), json!(5), "spec.restartPolicy: must be a text"),
    ] {
        let refused = with(&place, value);
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn a_container_runs_as_its_own_context_says_and_else_as_its_pods() {
    let with = |pods: Value, own: Value| {
        let mut manifest = every_field().remove(1);
        manifest["spec"]["securityContext"] = pods;
        manifest["spec"]["containers"][0]["securityContext"] = own;
        Ok::<_, String>(
            convert(manifest).map_err(|bad| bad.join("; "))?["spec"]["containers"][0]["user"]
                .clone(),
        )
    };
    let pods = json!({"runAsUser": 1, "runAsGroup": 2});
    assert_eq!(with(pods.clone(), json!({})), Ok(json!("1:2")));
    assert_eq!(with(pods.clone(), json!({"runAsUser": 3})), Ok(json!("3:2")));
    assert_eq!(with(pods, json!({"runAsGroup": 4})), Ok(json!("1:4")));
    assert_eq!(with(json!({"runAsGroup": 2}), json!({"runAsUser": 3})), Ok(json!("3:2")));
    assert_eq!(with(json!({}), json!({})), Ok(Value::Null));
    let refused = with(json!({"runAsGroup": 2}), json!({})).unwrap_err();
    assert!(refused.contains("runAsGroup: needs `runAsUser`"), "{refused}");
}

#[test]
fn nothing_of_a_deployment_is_dropped() {
    let with = |place: &str, value: Value| {
        let mut manifest = read(FULL);
        let (parent, key) = place.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[key] = value;
        convert(manifest).map_err(|bad| bad.join("; "))
    };
    let made = with("/spec/template/metadata/labels", json!({"app": "web", "tier": "edge"}));
    assert_eq!(made.unwrap()["metadata"]["labels"], json!({"app": "web", "tier": "edge"}));
    for (place, value, told) in [
        ("/spec/template/metadata/labels", json!({"app": "x"}), "selector.matchLabels: must be"),
        ("/spec/selector", json!({"matchLabels": {"a": "b"}}), "selector.matchLabels: must be"),
        ("/spec/selector", json!({"matchExpressions": []}), "matchExpressions: not supported"),
        ("/metadata/labels", json!({"app": "other"}), "`app` has another value"),
        ("/spec/template/metadata/name", json!("x"), "template.metadata.name: not supported"),
        ("/spec/strategy", json!({}), "strategy.type: must be given as `Recreate`"),
        ("/spec/strategy", Value::Null, "strategy.type: must be given as `Recreate`"),
        ("/spec/strategy", json!({"type": "RollingUpdate"}), "only `Recreate`"),
        ("/spec/template/spec/restartPolicy", json!("Never"), "must be Always"),
    ] {
        let refused = with(place, value).unwrap_err();
        assert!(refused.contains(told), "{place}: {refused}");
    }
}

#[test]
fn the_port_of_a_probe_is_one_that_the_container_has() {
    let mut manifest = read(FULL);
    manifest["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] =
        json!("metrics");
    let refused = convert(manifest).unwrap_err().join("; ");
    assert!(refused.contains("httpGet.port: must be a number, or the name"), "{refused}");
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\PC\\n]{0,200}") {
        if let Ok(documents) = serde_saphyr::from_multiple::<Value>(&text) {
            for document in documents {
                let _ = convert(document);
            }
        }
        let _ = mebibytes(&json!(text));
        let _ = milli(&json!(text));
    }
}
