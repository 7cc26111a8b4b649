//! The configurations in examples/ for who calls this runtime. Docker's and containerd's are those that the tests of both
//! start with, here and in the virtual machine; the others are read as their readers do, and say the same.

use serde_json::Value;

const PROGRAM: &str = "/usr/local/bin/onggi-runtime";

fn text(name: &str) -> String {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn toml(name: &str) -> Value {
    toml::from_str(&text(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&text(name)).unwrap()
}

#[test]
fn docker_has_a_runtime_of_that_name() {
    let daemon: Value = serde_json::from_str(&text("docker/daemon.json")).unwrap();
    assert_eq!(daemon["runtimes"]["onggi"]["path"], PROGRAM);
    assert_eq!(daemon["default-runtime"], "onggi");
}

/// A RuntimeClass names what the node's configuration has.
#[test]
fn a_pods_class_is_a_runtime_of_the_node() {
    let class = yaml("kubernetes/runtime-class.yaml");
    assert_eq!(class["kind"], "RuntimeClass");
    let handler = class["handler"].as_str().unwrap();
    assert_eq!(
        yaml("kubernetes/pod.yaml")["spec"]["runtimeClassName"],
        class["metadata"]["name"]
    );
    let containerd = toml("containerd/config.toml");
    let containerd = &containerd["plugins"]["io.containerd.grpc.v1.cri"]["containerd"];
    assert_eq!(
        containerd["runtimes"][handler]["options"]["BinaryName"],
        PROGRAM
    );
    assert!(
        containerd["runtimes"][containerd["default_runtime_name"].as_str().unwrap()].is_object()
    );
    let crio = toml("kubernetes/crio.conf");
    let runtime = &crio["crio"]["runtime"]["runtimes"][handler];
    assert_eq!(runtime["runtime_path"], PROGRAM);
    assert_eq!(runtime["runtime_type"], "oci");
}

/// Nomad's driver for Docker lets a task name what Docker has.
#[test]
fn nomad_names_dockers_runtime() {
    let words = |name: &str| {
        let text = text(name);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .flat_map(|line| {
                line.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (client, job) = (words("nomad/client.hcl"), words("nomad/hello.nomad.hcl"));
    assert!(client.contains("plugin \"docker\" { config { allow_runtimes = [\"onggi\","));
    assert!(job.contains("driver = \"docker\" config {") && job.contains("runtime = \"onggi\""));
    for text in [client, job] {
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
