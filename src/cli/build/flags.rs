//! The options of `build`: Docker's, those of its old builder, and podman's.

use super::secret;
use crate::build::order::{self, Secret};
use crate::cli::value::{self, environment, network, resources, security};
use crate::container::options::{ExtraHost, Ulimit};
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use std::path::PathBuf;

/// Options of `build`.
#[derive(clap::Args)]
pub struct Build {
    /// Add a line to /etc/hosts of steps (name:address)
    #[arg(long, value_parser = network::extra_host)]
    pub(super) add_host: Vec<ExtraHost>,
    /// Allow what steps may not do otherwise ("security.insecure", "network.host")
    #[arg(long)]
    pub(super) allow: Vec<String>,
    /// Say something in the manifest of the image ([type[platform]:]key=value)
    #[arg(long)]
    pub(super) annotation: Vec<String>,
    /// Tell in the image how it was made ("type=provenance", "type=sbom")
    #[arg(long)]
    pub(super) attest: Vec<String>,
    /// Read credentials for registries from this file only
    #[arg(long, value_name = "string")]
    pub(super) authfile: Option<PathBuf>,
    /// Set an argument of the Dockerfile (name=value, or a name of the environment)
    #[arg(long)]
    pub(super) build_arg: Vec<String>,
    /// Read arguments of the Dockerfile from a file
    #[arg(long, value_name = "file")]
    pub(super) build_arg_file: Vec<PathBuf>,
    /// Add a place to take files or images from (name=path)
    #[arg(long)]
    pub(super) build_context: Vec<String>,
    /// Builder to use: there is one
    #[arg(long)]
    pub(super) builder: Option<String>,
    /// Take steps from a cache of another machine, too ("NAME", "type=registry,ref=NAME", "type=local,src=DIRECTORY")
    #[arg(long)]
    pub(super) cache_from: Vec<String>,
    /// Write the cache for other machines ("type=registry,ref=NAME", "type=local,dest=DIRECTORY", "type=inline")
    #[arg(long)]
    pub(super) cache_to: Vec<String>,
    /// Tell something instead of building ("build", "check", "outline", "targets")
    #[arg(long)]
    pub(super) call: Option<String>,
    /// Make the cgroups of steps in this one
    #[arg(long)]
    pub(super) cgroup_parent: Option<String>,
    /// Check the Dockerfile instead of building
    #[arg(long)]
    pub(super) check: bool,
    /// Length of a period in which a step has its quota of processors, in microseconds
    #[arg(long, value_name = "int")]
    pub(super) cpu_period: Option<i64>,
    /// Time on processors in each period, in microseconds
    #[arg(long, value_name = "int")]
    pub(super) cpu_quota: Option<i64>,
    /// Weight of steps when processors are short
    #[arg(short, long, value_name = "int")]
    pub(super) cpu_shares: Option<i64>,
    /// Let steps run on these processors only ("0-3", "0,1")
    #[arg(long)]
    pub(super) cpuset_cpus: Option<String>,
    /// Let steps use the memory of these nodes only
    #[arg(long)]
    pub(super) cpuset_mems: Option<String>,
    /// Where the Dockerfile is (default PATH/Dockerfile)
    #[arg(short, long)]
    pub(super) file: Option<String>,
    /// Media types of manifests that go elsewhere ("oci", "docker")
    #[arg(long)]
    pub(super) format: Option<String>,
    /// Write the id of the image to this file
    #[arg(long)]
    pub(super) iidfile: Option<PathBuf>,
    /// Run so many steps at once, instead of as many as there are processors
    #[arg(long, value_name = "int")]
    pub(super) jobs: Option<usize>,
    /// Set a label of the image (name=value)
    #[arg(long, value_parser = environment::label)]
    pub(super) label: Vec<(String, String)>,
    /// Keep the image in the store, which is what happens without --output
    #[arg(long)]
    pub(super) load: bool,
    /// Limit the memory of steps
    #[arg(short, long, value_name = "bytes", value_parser = resources::memory)]
    pub(super) memory: Option<i64>,
    /// Limit memory and swap of steps together (-1: without limit)
    #[arg(long, value_name = "bytes", value_parser = resources::swap)]
    pub(super) memory_swap: Option<i64>,
    /// Write what is known of the result to this file
    #[arg(long)]
    pub(super) metadata_file: Option<PathBuf>,
    /// Network of steps that do not say ("default", "none", "host", a name)
    #[arg(long)]
    pub(super) network: Option<String>,
    /// Take nothing from the cache
    #[arg(long)]
    pub(super) no_cache: bool,
    /// Take nothing of these stages from the cache
    #[arg(long, value_delimiter = ',')]
    pub(super) no_cache_filter: Vec<String>,
    /// Where the result goes ("type=image|registry|docker|oci|tar|local,dest=PATH", a directory, "-")
    #[arg(short, long)]
    pub(super) output: Vec<String>,
    /// Build for these platforms ("os/arch[/variant]")
    #[arg(long, value_delimiter = ',')]
    pub(super) platform: Vec<Platform>,
    /// How to show what happens ("auto", "plain", "tty", "rawjson", "quiet", "none")
    #[arg(long)]
    pub(super) progress: Option<String>,
    /// Tell in the image how it was made ("true", "false", "mode=min", "mode=max")
    #[arg(long)]
    pub(super) provenance: Option<String>,
    /// Look in the registries for newer base images
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = pull)]
    pub(super) pull: Option<bool>,
    /// Push the image to the registry of its names
    #[arg(long)]
    pub(super) push: bool,
    /// Print the id of the image and nothing else
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Tell in the image what is in it: has no effect
    #[arg(long)]
    pub(super) sbom: Option<String>,
    /// Pass a secret to steps ("id=NAME[,src=FILE|,env=VARIABLE]")
    #[arg(long, value_parser = secret::secret)]
    pub(super) secret: Vec<(String, Secret)>,
    /// Options of security, which steps do not have
    #[arg(long)]
    pub(super) security_opt: Vec<String>,
    /// Size of /dev/shm of steps
    #[arg(long, value_name = "bytes", value_parser = value::bytes)]
    pub(super) shm_size: Option<u64>,
    /// Seconds since 1970: no time in the image is later
    #[arg(
        long,
        alias = "timestamp",
        value_name = "int",
        allow_negative_numbers = true,
        value_parser = order::seconds
    )]
    pub(super) source_date_epoch: Option<i64>,
    /// Pass an SSH agent to steps ("default", "NAME[=SOCKET]")
    #[arg(long, value_parser = secret::agent)]
    pub(super) ssh: Vec<(String, PathBuf)>,
    /// Name the image
    #[arg(short, long)]
    pub(super) tag: Vec<Reference>,
    /// Build this stage
    #[arg(long)]
    pub(super) target: Option<String>,
    /// Insist on TLS and its certificates of registries, or do not
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) tls_verify: Option<bool>,
    /// Limit a resource of steps (name=soft:hard)
    #[arg(long, value_name = "ulimit", value_parser = security::ulimit)]
    pub(super) ulimit: Vec<Ulimit>,
    /// Build twice without the cache, and tell which files differ
    #[arg(long)]
    pub(super) verify: bool,
    pub(super) context: String,
}

/// Docker's yes or no, or podman's policies.
fn pull(text: &str) -> Result<bool, String> {
    match text {
        "always" | "newer" => Ok(true),
        "missing" | "ifmissing" | "never" => Ok(false),
        text => crate::cli::flag::boolean(text),
    }
}
