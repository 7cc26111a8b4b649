//! What is prepared before a container's program starts: its overlay, its streams, and the bundle for the runtime.

use super::relay::Pipes;
use crate::cgroup::placement::Placement;
use crate::container::engine::Engine;
use crate::container::mount_point::{InUse, Missing};
use crate::container::record::{Directory, Record};
use crate::container::resources::Enforcement;
use crate::container::{
    cgroup, device, inherited, mount, mount_point, network, root, spec, user_namespace,
};
use crate::id_mapping::Tier;
use crate::runtime::device_nodes;
use crate::runtime::plan::{Bundle, Life, Root, Sockets, Sources, UserNamespace};
use crate::runtime::process::parent::Streams;
use crate::runtime::seccomp::Filter;
use crate::store::tree;
use anyhow::{Context, Result};
use oci_spec::runtime::ContainerState;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// An image with more layers may need all the room that the kernel has for them ([`crate::sys::mount::Overlay`]).
const MOST_LAYERS: usize = 60;

/// An overlay that was once mounted volatile, or was cut off, refuses what is in its work directory. The directory
/// itself stays at every moment: who is killed here must not leave a container that passes for one with a copy
/// ([`root::is_copy`]), and those who look at it meanwhile hold no lock.
fn empty_work_directory(directory: &Directory) -> Result<()> {
    let work = directory.file("work");
    let entries = std::fs::read_dir(&work).with_context(|| format!("read `{}`", work.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read `{}`", work.display()))?;
        let path = entry.path();
        tree::remove(&path).with_context(|| format!("remove `{}`", path.display()))?;
    }
    Ok(())
}

/// All that the runtime needs to know; `given` are sources that are open already, `warnings` gets what will be otherwise than was asked for.
pub fn bundle(
    engine: &Engine,
    record: &Record,
    directory: &Directory,
    placement: &Placement,
    given: Sources,
    warnings: &mut Vec<String>,
) -> Result<(Bundle, InUse)> {
    let options = &record.options;
    let user_namespace = user_namespace::prepare(engine, options)?;
    let held = user_namespace.as_ref().and_then(|user| match user {
        UserNamespace::Held(namespace, _) => Some(namespace.as_fd()),
        _ => None,
    });
    let layers = user_namespace::layers(engine, record, held)?;
    let is_copy = root::is_copy(directory);
    match is_copy {
        true => root::fill(engine, record)?,
        false => root::prepare_upper(engine, record, &layers)?,
    }
    let as_directory = |path| Root::Directory {
        path,
        devices: options.privileged,
    };
    let mut root = match mount::mounted(engine, &record.id) {
        // Two overlays of one upper directory would not know of each other's changes.
        Some(path) => as_directory(path),
        None if is_copy => as_directory(directory.file("upper")),
        None => {
            empty_work_directory(directory)?;
            Root::Overlay {
                lower: layers.trees,
                mapped: layers.mapped,
                upper: directory.file("upper"),
                work: directory.file("work"),
                volatile: options.auto_remove,
                devices: options.privileged,
            }
        }
    };
    let mut sources = mount_point::open(engine, record, given, held, Missing::Make)?;
    mount_point::announce(engine, record, &sources.held, warnings)?;
    let mut spec = spec::build(record, engine)?;
    network::join(engine, options, &mut spec)?;
    if options.limits == Enforcement::BestEffort
        && let Some(process) = spec.process_mut()
    {
        warnings.extend(inherited::soften(process)?);
    }
    let edits = device::add(&mut spec, options, engine.mapping.tier)?.edits;
    if let Root::Overlay { lower, mapped, .. } = &mut root
        && (1..MOST_LAYERS).contains(&lower.len())
    {
        // Copies of layers have the container's owners; one without a root has nobody to give the places to.
        let owner = match *mapped {
            true => Ok((0, 0)),
            false => root::Owners::of(engine, record).stored((0, 0)),
        };
        if let Ok(owner) = owner
            && let Some((tree, lock)) = mount_point::places(engine, &spec, &sources.held, owner)
        {
            lower.push(tree);
            sources.in_use.places = Some(lock);
        }
    }
    let seccomp = spec::seccomp(options, engine)?;
    let warning = seccomp.as_ref().and_then(Filter::warning);
    warnings.extend(warning.map(str::to_owned));
    // Last: nothing fails from here on.
    let made = cgroup::make(placement, &spec, engine, options.limits, warnings)?;
    match made.unfiltered {
        // The filter decides which nodes can be opened, wherever they lie.
        None => {
            device::open_nodes(&mut spec);
            let (Root::Overlay { devices, .. } | Root::Directory { devices, .. }) = &mut root;
            *devices = true;
        }
        Some(why) => {
            if engine.mapping.tier == Tier::Root && !options.privileged {
                device_nodes::close_bound(&mut spec);
            }
            warnings.extend(device::unenforced(options, &why));
        }
    }
    let bundle = Bundle {
        spec,
        root,
        groups: options.group_add.clone(),
        user_namespace,
        tier: engine.mapping.tier,
        seccomp,
        state: spec::state(record, directory, ContainerState::Creating),
        life: Life::default(),
        cgroup: made.cgroup,
        edits,
        sockets: Sockets::default(),
        sources: sources.held,
    };
    Ok((bundle, sources.in_use))
}

/// The program's streams and our ends of them.
pub fn pipes(interactive: bool, terminal: bool) -> Result<(Streams, Pipes)> {
    let nothing = || -> Result<OwnedFd> {
        Ok(File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("open `/dev/null`")?
            .into())
    };
    if terminal {
        let pipes = Pipes {
            input: None,
            output: None,
            error: None,
        };
        return Ok(([nothing()?, nothing()?, nothing()?], pipes));
    }
    let (output, output_in) = std::io::pipe().context("pipe")?;
    let (error, error_in) = std::io::pipe().context("pipe")?;
    let (input, input_out) = match interactive {
        true => {
            let (reader, writer) = std::io::pipe().context("pipe")?;
            (reader.into(), Some(writer.into()))
        }
        false => (nothing()?, None),
    };
    let ours = Pipes {
        input: input_out,
        output: Some(output.into()),
        error: Some(error.into()),
    };
    Ok(([input, output_in.into(), error_in.into()], ours))
}
