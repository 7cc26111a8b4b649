//! Owners that programs give to files, for everybody, and above all for a user with a single id: what is in the image is what
//! root would have got, but for what programs make as somebody else.

use crate::support::{Store, User, debian, everyone, everyone_with_alpine};
use std::collections::BTreeMap;
use std::fs::File;

/// Path → `type mode uid:gid` of what the layers of an image hold, the upper ones first where they have the same.
fn members(store: &Store, image: &str) -> BTreeMap<String, String> {
    store.ok(["save", "-o", "image.tar", image]);
    let mut archive = tar::Archive::new(File::open(store.home().join("image.tar")).unwrap());
    let mut blobs = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        blobs.insert(name, bytes);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&blobs["manifest.json"]).unwrap();
    let mut found = BTreeMap::new();
    for layer in manifest[0]["Layers"].as_array().unwrap() {
        let mut layer = tar::Archive::new(&blobs[layer.as_str().unwrap()][..]);
        for entry in layer.entries().unwrap().map(Result::unwrap) {
            let header = entry.header();
            let path = entry.path().unwrap().display().to_string();
            let told = format!(
                "{:?} {:o} {}:{}",
                header.entry_type(),
                header.mode().unwrap(),
                header.uid().unwrap(),
                header.gid().unwrap()
            );
            let path = path.trim_start_matches("./").trim_end_matches('/');
            found.insert(path.to_owned(), told);
        }
    }
    found
}

const FILE: &str = r#"FROM alpine:3.20
RUN ln -s /etc/hostname /link && mkdir /shared && chmod 1777 /shared && touch /lower && chown 50:51 /lower && mkdir -p /tree/a && touch /tree/a/b
RUN adduser -D -u 1234 app && addgroup -g 777 team && addgroup app team
RUN su app -c 'touch /shared/f && mkdir /shared/d && echo x > /shared/d/g && ln -s f /shared/l && mkfifo /shared/p && id -u > /shared/who'
RUN chown -h app:team /link && chown -R app /tree && chgrp team /lower && chmod 4750 /lower && touch /root-file && chown app /root-file && chown root /root-file
RUN su app -c 'cp /shared/f /shared/h; mv /shared/who /shared/d/who; chgrp team /shared/f; rm /shared/l'
USER app
RUN touch /shared/as-user && mkdir ~/mine && touch ~/mine/file
USER 4321:4322
RUN touch /shared/by-number
"#;

#[test]
fn owners_are_what_programs_make_them() {
    for store in everyone_with_alpine() {
        store.file("context/Dockerfile", FILE);
        store.ok(["build", "-q", "-t=app", "context"]);
        let found = members(&store, "app");
        // Who has one id cannot become another user, only say so of a file: what `su` makes stays root's.
        let made_by_su = |path: &str| {
            store.user == User::Single
                && path.starts_with("shared/")
                && !["shared/as-user", "shared/by-number"].contains(&path)
        };
        for (path, expected) in [
            ("link", "Symlink 777 1234:777"),
            ("lower", "Regular 4750 50:777"),
            ("root-file", "Regular 644 0:0"),
            ("tree", "Directory 755 1234:0"),
            ("tree/a", "Directory 755 1234:0"),
            ("tree/a/b", "Regular 644 1234:0"),
            ("shared", "Directory 1777 0:0"),
            ("shared/f", "Regular 644 1234:777"),
            ("shared/d", "Directory 755 1234:1234"),
            ("shared/d/g", "Regular 644 1234:1234"),
            ("shared/d/who", "Regular 644 1234:1234"),
            ("shared/h", "Regular 644 1234:1234"),
            ("shared/p", "Fifo 644 1234:1234"),
            ("shared/as-user", "Regular 644 1234:1234"),
            ("home/app", "Directory 2755 1234:1234"),
            ("home/app/mine/file", "Regular 644 1234:1234"),
            ("shared/by-number", "Regular 644 4321:4322"),
            ("etc/hostname", "Regular 644 0:0"),
        ] {
            if made_by_su(path) {
                continue;
            }
            assert_eq!(
                found.get(path).map(String::as_str),
                Some(expected),
                "{path} as {:?}",
                store.user
            );
        }
    }
}

/// A package of Alpine's with a user of its own, made here since no other can be had without a network: its files, and what its
/// script makes, belong to that user.
const PACKAGE: &str = r#"
    mkdir -p data/srv/jar control
    echo content > data/srv/jar/file
    sum=$(sha1sum data/srv/jar/file | cut -d' ' -f1)
    tar -b1 --format=pax --pax-option="APK-TOOLS.checksum.SHA1:=$sum" --owner=333 --group=333 -C data --no-recursion \
        -cf - srv srv/jar srv/jar/file | gzip -n > data.gz
    printf '%s\n' 'pkgname = jar' 'pkgver = 1-r0' 'pkgdesc = x' 'url = x' 'arch = noarch' 'size = 8' > control/.PKGINFO
    echo "datahash = $(sha256sum data.gz | cut -d' ' -f1)" >> control/.PKGINFO
    printf '#!/bin/sh\naddgroup -S -g 333 jar && adduser -S -u 333 -G jar -H jar\n' > control/.pre-install
    printf '#!/bin/sh\nmkdir /var/jar && chown jar:jar /var/jar\n' > control/.post-install
    chmod 755 control/.p*
    # The first of the two archives has no end: the second goes on with it.
    tar -b1 --format=ustar -C control -cf - .PKGINFO .pre-install .post-install | head -c -1024 | gzip -n > control.gz
    cat control.gz data.gz > context/jar.apk
"#;

#[test]
fn packages_of_alpine_give_files_to_their_users() {
    for store in everyone_with_alpine() {
        let apk = "apk add --no-network --repositories-file /dev/null --allow-untrusted";
        let file = format!("FROM alpine:3.20\nCOPY jar.apk /\nRUN {apk} /jar.apk && rm /jar.apk\n");
        store.file("context/Dockerfile", file);
        store.script(PACKAGE).run().code(0);
        store.ok(["build", "-q", "-t=jar", "context"]);
        let found = members(&store, "jar");
        for (path, expected) in [
            ("srv/jar", "Directory 755 333:333"),
            ("srv/jar/file", "Regular 644 333:333"),
            ("var/jar", "Directory 755 333:333"),
            ("etc/shadow", "Regular 640 0:42"),
            ("etc/passwd", "Regular 644 0:0"),
        ] {
            let found = found.get(path).map(String::as_str);
            assert_eq!(found, Some(expected), "{path} as {:?}", store.user);
        }
    }
}

/// Packages of dnf's, likewise: the second has files of the user whom the first makes.
const SPECS: [(&str, &str); 2] = [
    (
        "keeper",
        "Provides: /bin/sh
%description
Who has the jar.
%pre
groupadd -r -g 321 jar && useradd -r -u 321 -g jar jar
%files
",
    ),
    (
        "jar",
        "Requires(pre): keeper
%description
A jar.
%install
install -d %{buildroot}/srv/jar %{buildroot}/usr/bin
echo kimchi > %{buildroot}/srv/jar/kimchi
ln %{buildroot}/srv/jar/kimchi %{buildroot}/srv/jar/same
ln -s kimchi %{buildroot}/srv/jar/link
echo '#!/bin/sh' > %{buildroot}/usr/bin/jar
%post
mkdir /var/jar && chown jar:jar /var/jar
%files
%attr(2750,jar,jar) %dir /srv/jar
%attr(640,jar,jar) /srv/jar/kimchi
%attr(640,jar,jar) /srv/jar/same
%attr(-,jar,jar) /srv/jar/link
%attr(4755,root,jar) %caps(cap_net_bind_service=ep) /usr/bin/jar
",
    ),
];
const DNF: &str = "FROM dnf AS packages
COPY *.spec /
RUN rpmbuild -bb --define '_rpmdir /packages' /keeper.spec /jar.spec && createrepo_c -q /packages
FROM dnf
RUN --mount=from=packages,source=/packages,target=/packages \\
    dnf -q -y --disablerepo='*' --repofrompath=local,file:///packages --nogpgcheck install jar && rpm -q keeper jar
";

#[test]
fn packages_of_dnf_give_files_to_their_users() {
    for store in everyone().filter(|store| debian::import_with_dnf(store, "dnf")) {
        for (name, rest) in SPECS {
            let begin = format!(
                "Name: {name}\nVersion: 1\nRelease: 1\nSummary: x\nLicense: none\nBuildArch: noarch\nAutoReqProv: no\n"
            );
            store.file(&format!("context/{name}.spec"), begin + rest);
        }
        store.file("context/Dockerfile", DNF);
        store.ok(["build", "-q", "-t=jar", "context"]);
        let found = members(&store, "jar");
        for (path, expected) in [
            ("srv/jar", "Directory 2750 321:321"),
            ("srv/jar/kimchi", "Regular 640 321:321"),
            ("srv/jar/same", "Link 640 321:321"),
            ("srv/jar/link", "Symlink 777 321:321"),
            ("usr/bin/jar", "Regular 4755 0:321"),
            ("var/jar", "Directory 755 321:321"),
            ("etc/passwd", "Regular 644 0:0"),
        ] {
            let found = found.get(path).map(String::as_str);
            assert_eq!(found, Some(expected), "{path} as {:?}", store.user);
        }
    }
}
