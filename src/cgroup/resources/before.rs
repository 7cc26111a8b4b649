//! How limits were before others were written, so that they can be put back.

use super::Setting;
use crate::cgroup::Cgroup;
use anyhow::Result;

/// A group, and what its files held that are written.
#[derive(Debug)]
pub struct Before {
    /// The group.
    pub group: Cgroup,
    settings: Vec<Setting>,
}

impl Before {
    /// That of a group which is to get these settings.
    pub fn of(group: Cgroup, wanted: &[Setting]) -> Result<Self> {
        let settings = settings(&group, wanted)?;
        Ok(Self { group, settings })
    }

    /// Writes it again, as far as that is possible: what cannot be written again was not written either.
    pub fn restore(&self) {
        for setting in &self.settings {
            let _ = self.group.write(&setting.file, &setting.value);
        }
    }
}

fn settings(group: &Cgroup, wanted: &[Setting]) -> Result<Vec<Setting>> {
    let mut before = Vec::new();
    for setting in wanted {
        let mut setting = setting.clone();
        let mut held = group.read(&setting.file)?;
        if held.is_none() && setting.file == "io.bfq.weight" {
            // Then [`super::apply`] writes this one.
            setting.file = "io.weight".to_owned();
            held = group.read(&setting.file)?;
        }
        if let Some(value) = held.and_then(|held| undoing(&setting, &held)) {
            before.push(Setting { value, ..setting });
        }
    }
    Ok(before)
}

/// What is written to undo a setting of a file that held that. Where a file has a line for each device, a setting
/// changes one of them; only of some files it is known how such a line is taken away again.
fn undoing(setting: &Setting, held: &str) -> Option<String> {
    let key = match setting.value.split_once(' ') {
        Some((device, _)) if device.contains(':') => device,
        _ => "default",
    };
    let mut lines = held.lines();
    let line = lines.find(|line| line.split(' ').next() == Some(key));
    match (line, setting.file.as_str()) {
        (Some(line), _) => Some(line.to_owned()),
        (None, "io.max") => Some(format!("{key} rbps=max wbps=max riops=max wiops=max")),
        (None, "io.weight" | "io.bfq.weight") if key != "default" => Some(format!("{key} default")),
        // An empty write(2) would write nothing.
        (None, _) if held.trim_end().is_empty() => Some("\n".to_owned()),
        (None, _) if held.lines().count() == 1 => Some(held.trim_end().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::resources::Controller;

    #[test]
    fn each_setting_is_undone_by_what_was() {
        for (file, value, held, expected) in [
            ("memory.max", "5", "max\n", Some("max")),
            ("cpu.max", "5 100", "max 100000\n", Some("max 100000")),
            ("cpuset.cpus", "0", "\n", Some("\n")),
            ("cpuset.cpus", "0", "", Some("\n")),
            (
                "io.max",
                "8:0 rbps=5",
                "",
                Some("8:0 rbps=max wbps=max riops=max wiops=max"),
            ),
            (
                "io.max",
                "8:0 rbps=5",
                "8:16 rbps=1 wbps=max riops=max wiops=max\n8:0 rbps=2 wbps=max riops=max wiops=max\n",
                Some("8:0 rbps=2 wbps=max riops=max wiops=max"),
            ),
            (
                "io.weight",
                "5",
                "default 100\n8:0 50\n",
                Some("default 100"),
            ),
            (
                "io.bfq.weight",
                "8:0 5",
                "default 100\n8:0 50\n",
                Some("8:0 50"),
            ),
            (
                "io.bfq.weight",
                "8:16 5",
                "default 100\n",
                Some("8:16 default"),
            ),
            ("io.bfq.weight", "5", "100\n", Some("100")),
            (
                "rdma.max",
                "mlx4_0 hca_object=1",
                "mlx4_0 a=1\nmlx5_0 a=1\n",
                None,
            ),
        ] {
            let setting = Setting {
                controller: Controller::of_file(file).unwrap(),
                file: file.to_owned(),
                value: value.to_owned(),
                spares: None,
            };
            assert_eq!(
                undoing(&setting, held).as_deref(),
                expected,
                "{file} {value} {held:?}"
            );
        }
    }
}
