//! Archives of `ADD`: their members go straight on into the layer, in their order.
//!
//! Everything in them is hostile. Invariant: a member lies below the destination, or where a link leads inside of the
//! image.

use super::{Staged, There, check_length, check_name, file_name, parent};
use crate::build::copy::tree::shown;
use crate::error::bad_input;
use crate::image::layer::{Archive, Member, MemberKind, pack};
use anyhow::{Context, Result};
use rustix::fs::Timespec;
use std::io::{BufRead, Write};

impl<W: Write> Staged<'_, W> {
    /// Unpacks an archive in a directory, as tar does in a root of its own: links on the way are followed inside, and
    /// what is there makes room.
    pub fn unpack(&mut self, destination: &str, stream: impl BufRead) -> Result<()> {
        let directory = self.place_directory(destination)?;
        let mut archive = Archive::new(stream);
        while let Some(member) = archive.next_member().context("read the archive")? {
            archive.raw().clear();
            check_length(&member.name).context("read the archive")?;
            let name = member.name.clone();
            self.member(&directory, member, &mut archive)
                .with_context(|| format!("unpack `{}`", shown(&name)))?;
        }
        Ok(())
    }

    fn member(
        &mut self,
        directory: &[u8],
        mut member: Member,
        archive: &mut Archive<impl BufRead>,
    ) -> Result<()> {
        let inside = clean(&member.name)?;
        if inside.is_empty() {
            // The destination itself keeps what it has.
            return Ok(());
        }
        let path = self.place_member(directory, &inside)?;
        check_name(&path)?;
        let there = self.look(&path)?;
        let (is_directory, is_kept) = match (member.kind, &there) {
            (MemberKind::Directory, There::Directory { is_new: false }) => (true, true),
            (kind, _) => (kind == MemberKind::Directory, false),
        };
        let now = match member.kind {
            _ if is_directory => There::Directory { is_new: !is_kept },
            MemberKind::SymbolicLink => There::Link(member.link.clone()),
            MemberKind::HardLink => {
                let target = clean(&member.link)?;
                let target = self.place_member(directory, &target)?;
                if target == path {
                    return Ok(());
                }
                if matches!(
                    self.look(&target)?,
                    There::Nothing | There::Directory { .. }
                ) {
                    let message = format!("it is a link to `{}`, which is no file", shown(&target));
                    return Err(bad_input(message).into());
                }
                member.link = target;
                There::Other
            }
            _ => There::Other,
        };
        self.is_changed = true;
        self.flush(true)?;
        self.written.insert(path.clone(), now);
        member.name = path;
        (member.uid, member.gid) = self.owner.unwrap_or((member.uid, member.gid));
        member.mode &= 0o7777;
        member.mtime = Timespec {
            tv_sec: member.mtime.tv_sec.min(self.epoch),
            tv_nsec: 0,
        };
        member.xattrs.retain(|(key, _)| pack::is_carried(key));
        self.out.member(&member)?;
        loop {
            let piece = archive.data().context("read the archive")?;
            let length = piece.len();
            if length == 0 {
                return Ok(());
            }
            self.out.data(piece)?;
            archive.consume(length);
        }
    }

    /// Where a member goes; the directory for it is made.
    fn place_member(&mut self, directory: &[u8], inside: &[u8]) -> Result<Vec<u8>> {
        let above = self.resolve(&[directory, parent(inside)].join(&b'/'))?;
        self.make_directories(&above)?;
        Ok(match &above[..] {
            b"" => file_name(inside).to_vec(),
            above => [above, file_name(inside)].join(&b'/'),
        })
    }
}

/// The name of a member, or of what a hard link leads to.
fn clean(name: &[u8]) -> Result<Vec<u8>> {
    let names: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .collect();
    if names.contains(&&b".."[..]) {
        let message = format!(
            "the archive has `{}`, which leads out of the destination",
            shown(name)
        );
        return Err(bad_input(message).into());
    }
    Ok(names.join(&b'/'))
}
