//! What was put together becomes members of a tar.
//!
//! Invariant: a file is what was selected, from its first byte to its last, or there is an error.

use super::{Body, Node, Staged};
use crate::image::layer::{Member, MemberKind};
use anyhow::{Context, Result};
use rustix::fs::{Timespec, fstat};
use rustix::io::Errno;
use std::io::Write;
use std::os::fd::OwnedFd;

impl<'a, W: Write> Staged<'a, W> {
    pub(super) fn write(&mut self, path: Vec<u8>, node: Node<'a>) -> Result<()> {
        let mut member = Member {
            name: path,
            link: Vec::new(),
            kind: MemberKind::File,
            mode: node.mode,
            uid: node.owner.0,
            gid: node.owner.1,
            mtime: Timespec {
                tv_sec: node.modified,
                tv_nsec: 0,
            },
            device: (0, 0),
            size: 0,
            sparse: None,
            xattrs: node.xattrs.into_owned(),
        };
        match node.body {
            Body::Directory { .. } => member.kind = MemberKind::Directory,
            Body::Link(target) => {
                (member.kind, member.link) = (MemberKind::SymbolicLink, target.to_vec());
            }
            Body::HardLink(target) => (member.kind, member.link) = (MemberKind::HardLink, target),
            Body::Fifo => member.kind = MemberKind::Fifo,
            Body::Device(is_block, number) => {
                member.kind = match is_block {
                    true => MemberKind::Block,
                    false => MemberKind::Character,
                };
                member.device = (rustix::fs::major(number), rustix::fs::minor(number));
            }
            Body::Bytes(bytes) => {
                member.size = bytes.len() as u64;
                self.out.member(&member)?;
                return self.out.data(bytes);
            }
            Body::Whole(file) => {
                let found = fstat(file).context("stat what was downloaded")?;
                member.size = found.st_size as u64;
                self.out.member(&member)?;
                let read = self.content(file, member.size);
                return read?.context("read what was downloaded").map(drop);
            }
            Body::File(tree, entry) => {
                member.size = entry.size;
                return tree.read(entry, |file| {
                    self.out.member(&member)?;
                    let read = self.content(file, entry.size)?;
                    read.map_err(|errno| tree.failed("read", &entry.path, errno))
                });
            }
        }
        self.out.member(&member)
    }

    /// Passes on so many bytes, or as many as there are.
    fn content(&mut self, file: &OwnedFd, size: u64) -> Result<rustix::io::Result<()>> {
        let mut at = 0;
        while at < size {
            match rustix::io::pread(file, &mut self.buffer[..], at) {
                Ok(0) => break,
                Ok(read) => {
                    self.out.data(&self.buffer[..read])?;
                    at += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Ok(Err(errno)),
            }
        }
        Ok(Ok(()))
    }
}
