//! Mounts as Docker's API shows them: those that a container has (`Mounts`), those that were asked for
//! (`HostConfig.Binds`, `HostConfig.Mounts`, `Config.Volumes`), and what `ps` tells of them.
//!
//! Memory of `--tmpfs` is not among them, as in Docker: that is `HostConfig.Tmpfs`.

use super::MountPoint;
use super::request::{Kind, Propagation, Recursion, Request};
use crate::container::record::Record;
use crate::paths::Paths;
use crate::volume;
use serde_json::{Map, Value, json};

impl MountPoint {
    /// What `ps` shows: the name of a volume, else where it comes from; `None` for memory.
    pub fn shown(&self) -> Option<&str> {
        Some(self.request.source.as_str()).filter(|source| !source.is_empty())
    }

    /// Whether a filter that says `wanted` means it: by name, by source or by target.
    pub fn is_called(&self, wanted: &str) -> bool {
        self.shown() == Some(wanted) || self.request.target == wanted
    }
}

/// How many mounts are of volumes.
pub fn count_volumes(mounts: &[MountPoint]) -> usize {
    mounts
        .iter()
        .filter(|mount| mount.volume().is_some())
        .count()
}

/// `Mounts` of a container.
pub fn mounts(mounts: &[MountPoint], paths: &Paths) -> Vec<Value> {
    mounts
        .iter()
        .map(|mount| mount_point(mount, paths))
        .collect()
}

fn mount_point(mount: &MountPoint, paths: &Paths) -> Value {
    let request = &mount.request;
    let mut fields = Map::new();
    fields.insert("Type".to_owned(), json!(request.kind));
    let mut source = request.source.clone();
    if let Some(name) = mount.volume() {
        source = volume::data(paths, name).display().to_string();
        fields.insert("Name".to_owned(), json!(name));
    }
    fields.insert("Source".to_owned(), json!(source));
    fields.insert("Destination".to_owned(), json!(request.target));
    if mount.volume().is_some() {
        fields.insert("Driver".to_owned(), json!(driver(request)));
    }
    fields.insert("Mode".to_owned(), json!(mode(mount)));
    fields.insert(
        "RW".to_owned(),
        json!(!request.read_only && request.kind != Kind::Image),
    );
    fields.insert(
        "Propagation".to_owned(),
        match request.kind {
            Kind::Bind => json!(request.propagation.unwrap_or_default()),
            _ => json!(""),
        },
    );
    fields.into()
}

fn driver(request: &Request) -> &str {
    match request.driver.as_str() {
        "" => volume::LOCAL,
        other => other,
    }
}

/// The last part of a `-v`. A volume with a name has `z` where nothing is said, as Docker has it.
fn mode(mount: &MountPoint) -> &str {
    let parts = mount.request.written.as_deref().map(|text| text.split(':'));
    match parts.and_then(|mut parts| parts.nth(2)) {
        Some(mode) => mode,
        None if mount.volume().is_some() && !mount.anonymous => "z",
        None => "",
    }
}

/// What a container was asked to have, in that order and before anything was looked up.
pub fn requests(record: &Record) -> Vec<Request> {
    if !record.options.mounts.is_empty() {
        // A record that was not read, or was written by a version that wrote them twice.
        return record.options.mounts.clone();
    }
    let asked = record.mounts.iter();
    let mut asked: Vec<_> = asked
        .filter_map(|point| Some((point.asked?, point)))
        .collect();
    asked.sort_by_key(|(number, _)| *number);
    let request = |(_, point): (usize, &MountPoint)| {
        let mut request = point.request.clone();
        if point.anonymous {
            request.source.clear();
        }
        if point.volume().is_some() && request.driver == record.options.volume_driver {
            request.driver.clear();
        }
        request
    };
    asked.into_iter().map(request).collect()
}

/// `HostConfig.Binds`: what `-v` said, but for volumes without a name; null where there is none.
pub fn binds(requests: &[Request]) -> Value {
    let named = requests.iter().filter(|request| !request.source.is_empty());
    let words: Vec<&str> = named
        .filter_map(|request| request.written.as_deref())
        .collect();
    match words.is_empty() {
        true => Value::Null,
        false => json!(words),
    }
}

/// Where `-v` asks for volumes without a name, which Docker shows among those of the image.
pub fn anonymous_targets(requests: &[Request]) -> impl Iterator<Item = &str> {
    let unnamed = requests
        .iter()
        .filter(|request| request.written.is_some() && request.source.is_empty());
    unnamed.map(|request| request.target.as_str())
}

/// `HostConfig.Mounts`: what `--mount` said; null where there is none.
pub fn asked(requests: &[Request]) -> Value {
    let mounts = requests.iter().filter(|request| request.written.is_none());
    let mounts: Vec<Value> = mounts.map(asked_mount).collect();
    match mounts.is_empty() {
        true => Value::Null,
        false => mounts.into(),
    }
}

/// One of them (Docker's API, `Mount`); what is as always is left out.
fn asked_mount(request: &Request) -> Value {
    let is = |value: bool| value.then_some(true);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let propagation = |propagation: &Propagation| json!(propagation);
    let driver = json!({
        "Name": some(&request.driver),
        "Options": Some(&request.driver_options).filter(|options| !options.is_empty()),
    });
    let options = match request.kind {
        Kind::Bind => json!({
            "Propagation": request.propagation.as_ref().map(propagation),
            "NonRecursive": is(request.recursion == Recursion::Disabled),
            "CreateMountpoint": is(request.create_source),
            "ReadOnlyNonRecursive": is(request.recursion == Recursion::Writable),
            "ReadOnlyForceRecursive": is(request.recursion == Recursion::Readonly),
        }),
        Kind::Volume => json!({
            "NoCopy": is(request.no_copy),
            "Labels": Some(&request.labels).filter(|labels| !labels.is_empty()),
            "Subpath": request.subpath,
            "DriverConfig": non_empty(driver),
        }),
        Kind::Image => json!({ "Subpath": request.subpath }),
        Kind::Tmpfs => json!({
            "SizeBytes": request.tmpfs_size,
            "Mode": request.tmpfs_mode,
            "Options": Some(tmpfs_options(&request.flags)).filter(|options| !options.is_empty()),
        }),
    };
    let name = match request.kind {
        Kind::Bind => "BindOptions",
        Kind::Volume => "VolumeOptions",
        Kind::Image => "ImageOptions",
        Kind::Tmpfs => "TmpfsOptions",
    };
    let kind = json!(request.kind);
    non_empty(json!({
        "Type": kind,
        "Source": some(&request.source),
        "Target": request.target,
        "ReadOnly": is(request.read_only),
        name: non_empty(options),
    }))
}

/// Each is a key, with its value where it has one.
fn tmpfs_options(flags: &[String]) -> Vec<Vec<&str>> {
    flags
        .iter()
        .map(|flag| flag.splitn(2, '=').collect())
        .collect()
}

/// Without what is null; null if nothing is left.
fn non_empty(mut fields: Value) -> Value {
    let Some(map) = fields.as_object_mut() else {
        return fields;
    };
    map.retain(|_, value| !value.is_null());
    match map.is_empty() {
        true => Value::Null,
        false => fields,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(kind: Kind, source: &str, written: Option<&str>) -> Request {
        Request {
            kind,
            source: source.to_owned(),
            target: "/x".to_owned(),
            written: written.map(str::to_owned),
            ..Request::default()
        }
    }

    #[test]
    fn what_a_container_has() {
        let paths = Paths::new("/data", "/run");
        let described = |request: Request, anonymous: bool| {
            let mount = MountPoint {
                request,
                anonymous,
                ..MountPoint::default()
            };
            mount_point(&mount, &paths).to_string()
        };
        assert_eq!(
            described(request(Kind::Bind, "/a", Some("/a:/x")), false),
            r#"{"Type":"bind","Source":"/a","Destination":"/x","Mode":"","RW":true,"Propagation":"rprivate"}"#
        );
        let read_only = Request {
            read_only: true,
            ..request(Kind::Volume, "d", Some("d:/x:ro"))
        };
        assert_eq!(
            described(read_only, false),
            r#"{"Type":"volume","Name":"d","Source":"/data/volumes/d/_data","Destination":"/x","Driver":"local","Mode":"ro","RW":false,"Propagation":""}"#
        );
        assert!(described(request(Kind::Volume, "d", None), false).contains(r#""Mode":"z""#));
        assert!(described(request(Kind::Volume, "d", Some("/x")), true).contains(r#""Mode":"""#));
        assert_eq!(
            described(request(Kind::Tmpfs, "", None), false),
            r#"{"Type":"tmpfs","Source":"","Destination":"/x","Mode":"","RW":true,"Propagation":""}"#
        );
    }

    #[test]
    fn what_was_asked_for() {
        let requests = [
            request(Kind::Bind, "/a", Some("/a:/x:z")),
            request(Kind::Volume, "", Some("/x")),
            request(Kind::Volume, "", None),
            Request {
                flags: vec!["exec".to_owned(), "uid=7".to_owned()],
                tmpfs_mode: Some(0o1770),
                ..request(Kind::Tmpfs, "", None)
            },
            Request {
                propagation: Some(Propagation::Rslave),
                recursion: Recursion::Disabled,
                read_only: true,
                ..request(Kind::Bind, "/a", None)
            },
            Request {
                driver_options: [("type".to_owned(), "nfs".to_owned())].into(),
                subpath: Some("a".to_owned()),
                ..request(Kind::Volume, "d", None)
            },
        ];
        assert_eq!(binds(&requests).to_string(), r#"["/a:/x:z"]"#);
        assert_eq!(binds(&requests[1..]), Value::Null);
        assert_eq!(anonymous_targets(&requests).collect::<Vec<_>>(), ["/x"]);
        assert_eq!(asked(&requests[..2]), Value::Null);
        let expected = [
            r#"{"Type":"volume","Target":"/x"}"#,
            r#"{"Type":"tmpfs","Target":"/x","TmpfsOptions":{"Mode":1016,"Options":[["exec"],["uid","7"]]}}"#,
            r#"{"Type":"bind","Source":"/a","Target":"/x","ReadOnly":true,"BindOptions":{"Propagation":"rslave","NonRecursive":true}}"#,
            r#"{"Type":"volume","Source":"d","Target":"/x","VolumeOptions":{"Subpath":"a","DriverConfig":{"Options":{"type":"nfs"}}}}"#,
        ];
        assert_eq!(
            asked(&requests).to_string(),
            format!("[{}]", expected.join(","))
        );
    }
}
