//! One 512-byte header block of a tar archive: its fields decoded, nothing of their meaning.
//!
//! pax(1) "ustar Interchange Format", and GNU tar's "Basic Tar Format". Invariant: a `Header` has a right checksum.

/// The unit of a tar archive, in bytes.
pub const BLOCK: usize = 512;

/// A header block with its dialect.
pub struct Header<'a> {
    block: &'a [u8; BLOCK],
    dialect: Dialect,
}

/// What the magic says about the fields behind the first 257 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// No magic: nothing is there.
    V7,
    /// POSIX: device numbers and a name prefix of 155 bytes.
    Ustar,
    /// Joerg Schilling's: the prefix has 131 bytes.
    Star,
    /// GNU before PAX: device numbers, no prefix, perhaps a map of a sparse file.
    Gnu,
}

/// Why a block is no header.
#[derive(Debug, PartialEq, Eq)]
pub struct WrongChecksum;

impl<'a> Header<'a> {
    /// Accepts the sum over unsigned bytes, which the standard demands, and over signed ones, which old programs wrote.
    pub fn new(block: &'a [u8; BLOCK]) -> Result<Self, WrongChecksum> {
        let stored = numeric(&block[148..156]).ok_or(WrongChecksum)?;
        let others = || block[..148].iter().chain(&block[156..]);
        let unsigned: i64 = others().map(|byte| i64::from(*byte)).sum::<i64>() + 8 * 32;
        let signed: i64 = others()
            .map(|byte| i64::from(byte.cast_signed()))
            .sum::<i64>()
            + 8 * 32;
        if stored != unsigned && stored != signed {
            return Err(WrongChecksum);
        }
        let dialect = match (&block[257..263], &block[263..265]) {
            (b"ustar\0", _) if &block[508..512] == b"tar\0" => Dialect::Star,
            (b"ustar\0", _) => Dialect::Ustar,
            (b"ustar ", b" \0") => Dialect::Gnu,
            _ => Dialect::V7,
        };
        Ok(Self { block, dialect })
    }

    /// Which dialect the block is written in.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The type flag.
    pub fn flag(&self) -> u8 {
        self.block[156]
    }

    /// The name with its prefix, if the dialect has one.
    pub fn name(&self) -> Vec<u8> {
        let prefix = match self.dialect {
            Dialect::V7 | Dialect::Gnu => &[],
            Dialect::Ustar => text(&self.block[345..500]),
            Dialect::Star => text(&self.block[345..476]),
        };
        let name = text(&self.block[..100]);
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, name].join(&b'/')
        }
    }

    /// The target of a link.
    pub fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    /// The mode field, type bits included where a program wrote them.
    pub fn mode(&self) -> Option<i64> {
        numeric(&self.block[100..108])
    }

    /// The user id.
    pub fn uid(&self) -> Option<i64> {
        numeric(&self.block[108..116])
    }

    /// The group id.
    pub fn gid(&self) -> Option<i64> {
        numeric(&self.block[116..124])
    }

    /// The length of the content in bytes.
    pub fn size(&self) -> Option<i64> {
        numeric(&self.block[124..136])
    }

    /// The modification time in seconds.
    pub fn mtime(&self) -> Option<i64> {
        numeric(&self.block[136..148])
    }

    /// Major and minor number; zero where the dialect has none.
    pub fn device(&self) -> Option<(i64, i64)> {
        if self.dialect == Dialect::V7 {
            return Some((0, 0));
        }
        Some((
            numeric(&self.block[329..337])?,
            numeric(&self.block[337..345])?,
        ))
    }

    /// The four pairs of a GNU sparse map, whether more blocks of it follow, and the real size.
    pub fn gnu_sparse(&self) -> (&'a [u8], bool, Option<i64>) {
        (
            &self.block[386..482],
            self.block[482] != 0,
            numeric(&self.block[483..495]),
        )
    }
}

/// A field up to its first NUL.
pub fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number: octal digits among spaces and NULs, or base 256 where the top bit is set; `None` if it is neither
/// or does not fit.
pub fn numeric(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return base256(field);
    }
    let is_padding = |byte: &u8| *byte == b' ' || *byte == 0;
    let start = field
        .iter()
        .position(|byte| !is_padding(byte))
        .unwrap_or(field.len());
    let end = field
        .iter()
        .rposition(|byte| !is_padding(byte))
        .map_or(start, |last| last + 1);
    text(&field[start..end])
        .iter()
        .try_fold(0i64, |value, byte| match byte {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
            _ => None,
        })
}

/// Two's complement, big-endian, without the top bit of the first byte.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let first = if negative {
        i128::from(field[0] | 0x80) - 256
    } else {
        i128::from(field[0] & 0x3f)
    };
    let mut value = first;
    for byte in &field[1..] {
        value = value.checked_mul(256)?.checked_add(i128::from(*byte))?;
    }
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"00000008", None),
            (b"12 34\0\0\0", None),
            (b"77777777", Some(0o77_777_777)),
            (b"\x80\0\0\0\0\0\0\x01", Some(1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (
                b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
                Some(i64::MAX),
            ),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (field, value) in cases {
            assert_eq!(numeric(field), *value, "{field:?}");
        }
    }
}
