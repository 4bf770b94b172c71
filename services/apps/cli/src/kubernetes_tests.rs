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
