//! A bundle with the root file system of the real Alpine, and the commands on its container.

use crate::support::{Call, Outcome, Store, User, everyone, image};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::path::PathBuf;

/// A bundle in the home directory of a user, and a state root beside it.
pub struct Scene {
    pub store: Store,
}

/// One for each kind of user; skipped where there is none.
pub fn scenes() -> impl Iterator<Item = Scene> {
    everyone().filter_map(Scene::new)
}

/// The root file system of Alpine; skipped where it is not.
pub fn alpine_archive() -> Option<PathBuf> {
    let name = format!(
        "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
        std::env::consts::ARCH
    );
    image(&name)
}

impl Scene {
    fn new(store: Store) -> Option<Self> {
        let archive = alpine_archive()?;
        let scene = Self { store };
        scene.store.file("bundle/rootfs/.keep", "");
        let mut tar = scene.store.command("tar");
        tar.arg("-C")
            .arg(scene.bundle().join("rootfs"))
            .arg("-xf")
            .arg(archive);
        tar.args(["--no-same-owner", "--exclude=dev/*"]);
        Outcome::of("tar", tar.output().unwrap()).code(0);
        let rootless: &[&str] = match scene.store.user {
            User::Root => &[],
            _ => &["--rootless"],
        };
        let bundle = scene.bundle();
        let spec = [
            OsStr::new("spec"),
            OsStr::new("--bundle"),
            bundle.as_os_str(),
        ];
        scene
            .call(spec.into_iter().chain(rootless.iter().map(OsStr::new)))
            .run()
            .code(0);
        scene.change(|config| {
            config["process"]["terminal"] = json!(false);
            // What the host has of these is not ours to raise.
            config["process"]["rlimits"] = json!([]);
        });
        Some(scene)
    }

    pub fn bundle(&self) -> PathBuf {
        self.store.home().join("bundle")
    }

    /// The state root.
    pub fn state(&self) -> PathBuf {
        self.store.home().join("state")
    }

    /// Changes the configuration.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = self.bundle().join("config.json");
        let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        self.store.file("bundle/config.json", config.to_string());
    }

    /// What the program is to be.
    pub fn program(&self, words: &[&str]) {
        self.change(|config| config["process"]["args"] = json!(words));
    }

    /// A shell script as the program.
    pub fn script(&self, script: &str) {
        self.program(&["sh", "-c", script]);
    }

    /// `onggi runtime` with these words.
    pub fn call<I: IntoIterator<Item: AsRef<OsStr>>>(&self, words: I) -> Call {
        let state = self.state();
        let call = self.store.onggi([
            OsStr::new("runtime"),
            OsStr::new("--root"),
            state.as_os_str(),
        ]);
        call.args(words)
    }

    pub fn run<const N: usize>(&self, words: [&str; N]) -> Outcome {
        self.call(words).run()
    }

    /// `create` or `run` of the bundle, with what it prints going to files: a container that stays would hold a pipe
    /// open.
    pub fn make(&self, words: &[&str]) -> Outcome {
        self.make_with(&[], words)
    }

    /// The same with these variables.
    pub fn make_with(&self, variables: &[(&str, &str)], words: &[&str]) -> Outcome {
        let mut command = self
            .call(&words[..1])
            .args(["--bundle".as_ref(), self.bundle().as_os_str()]);
        command = command.args(&words[1..]);
        let output = self.store.file("output", "");
        let open = || std::fs::File::options().append(true).open(&output).unwrap();
        let mut command = command.into_command();
        command.envs(variables.iter().copied());
        let status = command
            .stdin(std::process::Stdio::null())
            .stdout(open())
            .stderr(open())
            .status();
        let said = std::fs::read(output).unwrap();
        Outcome::of(
            words[0],
            std::process::Output {
                status: status.unwrap(),
                stdout: said.clone(),
                stderr: said,
            },
        )
    }

    /// Runs a script in the container to its end.
    pub fn shell(&self, script: &str) -> Outcome {
        self.script(script);
        self.call(["run", "--bundle"])
            .args([self.bundle()])
            .args(["web"])
            .run()
    }

    /// A configuration that is changed like that is refused with these words, and nothing is left; then it is as before.
    #[track_caller]
    pub fn refuses(&self, message: &str, change: impl FnOnce(&mut Value)) {
        let before = std::fs::read(self.bundle().join("config.json")).unwrap();
        self.change(change);
        self.make(&["create", "web"]).code(1).stderr_has(message);
        self.store.file("bundle/config.json", before);
        assert!(!self.state().join("web").exists(), "{message}");
    }

    /// Runs a script with a configuration that is changed like that; then it is as before.
    pub fn shell_with(&self, change: impl FnOnce(&mut Value), script: &str) -> Outcome {
        let before = std::fs::read(self.bundle().join("config.json")).unwrap();
        self.change(change);
        let outcome = self.shell(script);
        self.store.file("bundle/config.json", before);
        outcome
    }

    /// What has been printed by whatever [`Self::make`] has started.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(self.store.home().join("output")).unwrap()
    }

    pub fn status(&self, id: &str) -> String {
        let state = self.run(["state", id]);
        state.code(0).json()["status"].as_str().unwrap().to_owned()
    }

    /// Nothing is left of any container.
    pub fn assert_empty(&self) {
        self.run(["list", "--quiet"]).code(0).stdout("");
        let left: Vec<_> = std::fs::read_dir(self.state())
            .into_iter()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{left:?}");
        self.store.assert_no_process_is_left();
    }
}
