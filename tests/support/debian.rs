//! Debians made once, with mmdebstrap and the host's own sources of packages, and kept in cargo's target directory: one with
//! real servers and clients for them, one with nothing but apt, and one with what Fedora's packages are installed by.

use super::{Need, Outcome, Store, requires, skip};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const PACKAGES: &str = "postgresql,redis-server,nginx-light,python3-psycopg2,iperf3,bind9-dnsutils,curl,socat,\
                        iproute2,iputils-ping";
/// What no test looks at, and PostgreSQL works without: compiling queries.
const LEFT_OUT: [&str; 7] = [
    "/usr/share/doc/*",
    "/usr/share/i18n/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/lib/*/libLLVM*",
    "/usr/lib/postgresql/*/lib/bitcode/*",
    "/usr/lib/postgresql/*/lib/llvmjit*",
];
/// The package makes a database of its own when it is installed.
const NO_DATABASE: &str = "rm -rf \"$1\"/var/lib/postgresql/* \"$1\"/etc/postgresql/*";

/// What nobody else must wait for when packages are installed: that the disk has them.
const NO_SYNC: &str = "--dpkgopt=force-unsafe-io";

/// Imports that with servers, with changes to its configuration (`USER postgres`); false, with a skip, where it cannot be
/// made.
#[must_use]
pub fn import(store: &Store, changes: &[&str], reference: &str) -> bool {
    static ARCHIVE: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let customize = ["--include", PACKAGES, "--customize-hook", NO_DATABASE];
        archive("with-servers", &customize)
    });
    import_archive(store, &ARCHIVE, changes, reference)
}

/// Imports that with nothing but apt; false, with a skip, where it cannot be made.
#[must_use]
pub fn import_bare(store: &Store, reference: &str) -> bool {
    static ARCHIVE: LazyLock<Result<PathBuf, String>> =
        LazyLock::new(|| archive("bare", &[NO_SYNC]));
    import_archive(store, &ARCHIVE, &[], reference)
}

/// Imports that with dnf and rpm, and with what makes packages for them; false, with a skip, where it cannot be made.
#[must_use]
pub fn import_with_dnf(store: &Store, reference: &str) -> bool {
    static ARCHIVE: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let include = ["--include", "dnf,rpm,createrepo-c", NO_SYNC];
        archive("with-dnf", &include)
    });
    import_archive(store, &ARCHIVE, &[], reference)
}

fn import_archive(
    store: &Store,
    archive: &LazyLock<Result<PathBuf, String>>,
    changes: &[&str],
    reference: &str,
) -> bool {
    if !requires(&[Need::Root, Need::Program("mmdebstrap")]) {
        return false;
    }
    let archive = match &**archive {
        Ok(archive) => archive,
        Err(reason) => {
            skip(reason);
            return false;
        }
    };
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    let words: Vec<&str> = ["import"].into_iter().chain(changes).collect();
    let mut import = store.onggi(words).args(["-", reference]).into_command();
    // Ordinary users need not reach the directory.
    import.stdin(File::open(archive).unwrap());
    Outcome::of("import", import.output().unwrap()).code(0);
    true
}

fn archive(kind: &str, options: &[&str]) -> Result<PathBuf, String> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .filter(|_| release.contains("\nID=debian\n"))
        .ok_or("the host is not Debian, whose packages are used")?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let archive = directory.join(format!("debian-{suite}-{kind}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    let half = directory.join(format!("half-{kind}-{}.tar", std::process::id()));
    let mut make = Command::new("mmdebstrap");
    make.args(["--quiet", "--variant=apt"]).args(options);
    // A server that drops a connection is no reason to do without.
    make.arg("--aptopt=Acquire::Retries \"3\"");
    make.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    make.arg(suite).arg(&half);
    let made = make
        .output()
        .map_err(|error| format!("mmdebstrap: {error}"))?;
    if !made.status.success() {
        let _ = std::fs::remove_file(&half);
        let said = String::from_utf8_lossy(&made.stderr);
        // The last line says only that it has failed.
        let errors = said.lines().filter(|line| line.starts_with("E: "));
        let why = errors.collect::<Vec<_>>().join("; ");
        return Err(format!("mmdebstrap made no Debian: {why}"));
    }
    std::fs::rename(&half, &archive).map_err(|error| error.to_string())?;
    Ok(archive)
}
