//! Subordinate ids: `/etc/subuid` and `/etc/subgid` (subuid(5), subgid(5)), read without the C library.

use anyhow::{Context, Result};
use std::io::ErrorKind;
use std::path::PathBuf;

/// Runs of (first id, how many).
pub type Ranges = Vec<(u32, u32)>;

/// The user's ranges of user ids and of group ids; `None` when one of them, or a program to map them, is missing.
pub fn ranges(uid: u32) -> Result<Option<(Ranges, Ranges)>> {
    if !["newuidmap", "newgidmap"]
        .iter()
        .all(|program| find_program(program).is_some())
    {
        return Ok(None);
    }
    let name = user_name(&read("/etc/passwd")?, uid);
    let users = parse(&read("/etc/subuid")?, name.as_deref(), Some(uid));
    let groups = parse(&read("/etc/subgid")?, name.as_deref(), Some(uid));
    Ok((!users.is_empty() && !groups.is_empty()).then_some((users, groups)))
}

/// The user and group ids of a user by name, or by number if no user has such a name.
pub fn account(user: &str) -> Result<Option<(u32, u32)>> {
    let passwd = read("/etc/passwd")?;
    let ids = |field: usize| {
        passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let ids = (fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?);
            (fields.get(field) == Some(&user)).then_some(ids)
        })
    };
    Ok(ids(0).or_else(|| ids(2)))
}

/// The ranges that belong to a name, whoever calls: of user ids and of group ids, either of which may be none.
pub fn ranges_of(name: &str) -> Result<(Ranges, Ranges)> {
    let uid = user_id(&read("/etc/passwd")?, name);
    let of = |path: &str| Ok::<_, anyhow::Error>(parse(&read(path)?, Some(name), uid));
    Ok((of("/etc/subuid")?, of("/etc/subgid")?))
}

/// The first id above all ranges of anybody, where one can begin that nobody has: never below the one that useradd(8)
/// begins with.
pub fn first_free() -> u64 {
    let files = ["/etc/subuid", "/etc/subgid"].map(|path| read(path).unwrap_or_default());
    files
        .iter()
        .map(|text| end_of(text))
        .fold(100_000, u64::max)
}

/// The end of the last range of all.
fn end_of(text: &str) -> u64 {
    let ends = text.lines().filter_map(|line| {
        let mut numbers = line.split(':').skip(1).map(str::parse::<u64>);
        numbers.next()?.ok()?.checked_add(numbers.next()?.ok()?)
    });
    ends.max().unwrap_or(0)
}

fn read(path: &str) -> Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("read `{path}`")),
    }
}

/// The user with that number in `/etc/passwd`, if it is there and can be read.
pub fn name_of(uid: u32) -> Option<String> {
    user_name(&read("/etc/passwd").ok()?, uid)
}

fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn user_id(passwd: &str, name: &str) -> Option<u32> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

fn parse(text: &str, name: Option<&str>, uid: Option<u32>) -> Ranges {
    let uid = uid.map(|uid| uid.to_string());
    let ours = |owner: &str| Some(owner) == uid.as_deref() || Some(owner) == name;
    // Together with the caller's own id they have to be counted in 32 bits, of which the last number is no id. What is
    // beyond that is cut off.
    let mut left = u32::MAX - 1;
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let owner = fields.next()?;
            let (first, size) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let size = left.min(if ours(owner) { size } else { 0 });
            left -= size;
            (size > 0).then_some((first, size))
        })
        .collect()
}

/// A program on the search path, or where distributions put it: which ids there are must not depend on how poor the
/// caller's environment is. Relative directories are passed over, since anybody may have put something there.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin"].map(PathBuf::from);
    let mut places = std::env::split_paths(&path).chain(usual);
    places.find_map(|directory| {
        let program = directory.join(name);
        (directory.is_absolute() && program.is_file()).then_some(program)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_belong_to_a_name_or_a_number() {
        let text = "# comment\nann:100000:65536\n1000:300000:10\nbob:1:1\nann:bad:1\nann:9:0\n";
        assert_eq!(
            parse(text, Some("ann"), Some(1000)),
            [(100_000, 65536), (300_000, 10)]
        );
        assert_eq!(parse(text, None, Some(1)), []);
        assert_eq!(
            user_name("root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:", 1000).as_deref(),
            Some("ann")
        );
        assert_eq!(user_id("ann:x:1000:1000::/:", "ann"), Some(1000));
        assert_eq!(parse(text, Some("bob"), None), [(1, 1)]);
        let many = "bob:7:4294967295\nann:0:4294967290\nann:5:10\nann:20:10\n";
        assert_eq!(parse(many, Some("ann"), None), [(0, 4_294_967_290), (5, 4)]);
        assert_eq!((end_of(text), end_of("odd\n")), (300_010, 0));
    }
}
