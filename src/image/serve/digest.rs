//! Digests of whatever algorithm the OCI specifications register (descriptor.md, "Registered algorithms"); images in
//! the store have sha256 only, what others push may not.

use super::refusal::Refusal;
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::io::{self, Read};

/// How a digest is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// 64 digits.
    Sha256,
    /// 128 digits.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// As it stands before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// The digest of all that comes, and how much that was.
    pub fn of(self, input: &mut dyn Read) -> io::Result<(AnyDigest, u64)> {
        fn hash<H: sha2::Digest>(input: &mut dyn Read) -> io::Result<(Vec<u8>, u64)> {
            let mut hasher = H::new();
            let mut piece = vec![0; 256 << 10];
            let mut length = 0;
            loop {
                match input.read(&mut piece)? {
                    0 => return Ok((hasher.finalize().to_vec(), length)),
                    got => {
                        hasher.update(&piece[..got]);
                        length += got as u64;
                    }
                }
            }
        }
        let (bytes, length) = match self {
            Self::Sha256 => hash::<Sha256>(input)?,
            Self::Sha512 => hash::<Sha512>(input)?,
        };
        Ok((self.digest(&bytes), length))
    }

    /// The digest of some bytes.
    pub fn of_bytes(self, bytes: &[u8]) -> AnyDigest {
        match self {
            Self::Sha256 => self.digest(&Sha256::digest(bytes)),
            Self::Sha512 => self.digest(&Sha512::digest(bytes)),
        }
    }

    fn digest(self, bytes: &[u8]) -> AnyDigest {
        AnyDigest {
            algorithm: self,
            hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// A digest: its digits are lower-case, as many as its algorithm has, and so safe as the name of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnyDigest {
    algorithm: Algorithm,
    hex: String,
}

impl AnyDigest {
    /// Reads one, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (name, hex) = text.split_once(':').unwrap_or((text, ""));
        let Some(algorithm) = Algorithm::ALL
            .into_iter()
            .find(|known| known.name() == name)
        else {
            return Err(Refusal::digest_invalid(
                "a digest is `sha256:` or `sha512:` and hexadecimal digits",
            ));
        };
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        match hex.len() == algorithm.digits() && hex.bytes().all(lower) {
            true => Ok(Self {
                algorithm,
                hex: hex.to_owned(),
            }),
            false => Err(Refusal::digest_invalid(format!(
                "{} has {} lower-case hexadecimal digits",
                algorithm.name(),
                algorithm.digits()
            ))),
        }
    }

    /// How it was made.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for AnyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex)
    }
}

impl From<&crate::image::digest::Digest> for AnyDigest {
    fn from(digest: &crate::image::digest::Digest) -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            hex: digest.hex().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_algorithms_are_read_and_made() {
        for algorithm in Algorithm::ALL {
            let (digest, length) = algorithm.of(&mut &b"clay"[..]).unwrap();
            assert_eq!((length, &digest), (4, &algorithm.of_bytes(b"clay")));
            assert_eq!(AnyDigest::parse(&digest.to_string()).unwrap(), digest);
        }
        let hex = "a".repeat(64);
        for bad in [
            "",
            "sha256",
            "sha256:",
            "sha256:../../x",
            "md5:0123",
            &hex,
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
        ] {
            let refusal = AnyDigest::parse(bad).unwrap_err();
            assert_eq!(
                (refusal.status, refusal.code),
                (400, "DIGEST_INVALID"),
                "{bad}"
            );
        }
    }
}
