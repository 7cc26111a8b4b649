//! Commands on the policy: whose images are taken in.

pub mod add;
pub mod ls;
pub mod rm;
pub mod show;

use crate::cli::Context;
use crate::image::trust::edit::{Changed, Scope};
use crate::image::trust::words;
use crate::image::trust::{Asked, requirement};
use anyhow::Result;
use std::path::Path;

/// What the manual says of all of them.
pub const MANUAL: &str = r#".SH POLICY
What is said goes into
.IR ~/.config/containers/policy.json ,
which podman reads too
.RB ( containers\-policy.json (5));
where that is not there,
.I /etc/containers/policy.json
counts, and a copy of it is begun with. Where neither is there, all images are taken in.
Of all scopes that a name is in the nearest counts alone. A scope is an image
.RI ( alpine:3.20 ),
a repository
.RI ( ghcr.io/acme/app ),
what repositories begin with
.RI ( ghcr.io/acme ),
a host with its port
.RI ( registry.example.org:5000 ),
all hosts of a domain
.RI ( *.example.org ),
or
.IR default .
Images of files are in
.IR docker\-archive: ,
.IR oci\-archive: ,
.I oci:
or
.IR dir: ,
each with or without a path, and what
.B onggi import
takes in is in
.IR tarball: ;
they have no signatures. What counts of a file is where it lies once it is open, not the name that it was opened by.
A registry is the same however it is spelled: in capitals, with the usual port, as
.I docker.io
or as a host that serves that.
.PP
A file with a key, a type or an identity that is not known lets no image in. Signatures by GPG, without a key of their
own (Fulcio) and entries of public logs (Rekor) are not supported: a rule that wants one refuses the images that it is about.
.SH SIGNATURES
They are made by
.B cosign sign \-\-key
or
.BR "skopeo copy \-\-sign\-by\-sigstore\-private\-key" ,
lie in the repository of the image, under the tag
.I sha256\-DIGEST.sig
or as a bundle that refers to the image, and are verified when the image is pulled, offline. Keys are ECDSA on P\-256 or
P\-384, Ed25519, or RSA of 2048 to 8192 bits. What must be signed is the digest of the index or manifest that the name leads
to, or that of the manifest for the platform. A signature is for a name as well: rules of
.B trust add
want that of the repository. Bundles have no name as a rule; only rules with
.I matchRepository
let those in.
"#;

/// What `--verify` asks for; without a file the policy has the key.
pub fn asked(verify: Option<&str>) -> Result<Asked> {
    match verify {
        None => Ok(Asked::Nothing),
        Some("") => Ok(Asked::Signature),
        Some(file) => Ok(Asked::Key(requirement::read_key(Path::new(file))?)),
    }
}

/// Tells what is in the file now, and what is still open.
fn tell(context: &mut Context, scope: &Scope, changed: Changed) -> Result<()> {
    let (file, shown) = (changed.file.display(), scope.to_string());
    if let Some(copied) = changed.copied {
        let copied = copied.display();
        context.output.warn(format_args!(
            "`{file}` now counts instead of `{copied}`, and begins with all that is in that"
        ));
    }
    let policy = match changed.policy {
        Ok(policy) => policy,
        Err(error) => {
            context
                .output
                .warn(format_args!("no image will be taken in: {error}"));
            return Ok(());
        }
    };
    match words::rows(&policy)
        .into_iter()
        .find(|row| row.scope == shown)
    {
        Some(row) => context
            .output
            .line(format_args!("Images of {shown} are {}", row.meaning))?,
        None => context
            .output
            .line(format_args!("Nothing is said of {shown} any more"))?,
    }
    if policy.is_open() && *scope != Scope::Default {
        context.output.warn(
            "images of all other names are taken in without a signature: `onggi trust add default --reject` refuses them",
        );
    }
    Ok(())
}
