//! The rows: which command does what.

use super::{Command, command};
use crate::cli::{
    build, container, image, manifest, network, registry, runtime, system, trust, volume,
};

/// The table.
pub const COMMANDS: &[Command] = &[
    command::<container::run::Run>(
        &["container run", "run"],
        "IMAGE [COMMAND] [ARG...]",
        "Make a container from an image and run a program in it",
    )
    .common()
    .fails_with_125(),
    command::<container::exec::Exec>(
        &["container exec", "exec"],
        "CONTAINER COMMAND [ARG...]",
        "Run a program in a container that runs",
    )
    .common(),
    command::<container::ps::Ps>(
        &["container ls", "container list", "container ps", "ps"],
        "",
        "List containers",
    )
    .common(),
    command::<container::create::Create>(
        &["container create", "create"],
        "IMAGE [COMMAND] [ARG...]",
        "Make a container from an image without starting it",
    )
    .fails_with_125(),
    command::<container::start::Start>(
        &["container start", "start"],
        "CONTAINER [CONTAINER...]",
        "Start containers that have ended or never ran",
    ),
    command::<container::stop::Stop>(
        &["container stop", "stop"],
        "CONTAINER [CONTAINER...]",
        "Ask programs to end, and kill those that do not",
    ),
    command::<container::stop::Restart>(
        &["container restart", "restart"],
        "CONTAINER [CONTAINER...]",
        "Stop containers and start them again",
    ),
    command::<container::kill::Kill>(
        &["container kill", "kill"],
        "CONTAINER [CONTAINER...]",
        "Send a signal to programs",
    ),
    command::<container::kill::Pause>(
        &["container pause", "pause"],
        "CONTAINER [CONTAINER...]",
        "Stop all processes of containers for a while",
    ),
    command::<container::kill::Unpause>(
        &["container unpause", "unpause"],
        "CONTAINER [CONTAINER...]",
        "Let paused containers go on",
    ),
    command::<container::wait::Wait>(
        &["container wait", "wait"],
        "CONTAINER [CONTAINER...]",
        "Wait until programs end, and print their exit codes",
    ),
    command::<container::attach::Attach>(
        &["container attach", "attach"],
        "CONTAINER",
        "Connect this terminal or these streams to a program",
    ),
    command::<container::rename::Rename>(
        &["container rename", "rename"],
        "CONTAINER NEW_NAME",
        "Give a container another name",
    ),
    command::<container::rename::Update>(
        &["container update", "update"],
        "CONTAINER [CONTAINER...]",
        "Change what containers may take, and what is done when they end",
    ),
    command::<container::rename::Exists>(
        &["container exists"],
        "CONTAINER",
        "Say by the exit code whether there is such a container",
    ),
    command::<container::health::HealthcheckRun>(
        &["healthcheck run"],
        "CONTAINER",
        "Probe the health of a container now",
    )
    .fails_with_125(),
    command::<container::rm::Rm>(
        &["container rm", "container remove", "rm"],
        "CONTAINER [CONTAINER...]",
        "Remove containers",
    ),
    command::<container::logs::Logs>(
        &["container logs", "logs"],
        "CONTAINER",
        "Show what the program of a container has written",
    ),
    command::<container::inspect::InspectContainer>(
        &["container inspect"],
        "CONTAINER [CONTAINER...]",
        "Show all that is known of containers",
    ),
    command::<container::inspect::Inspect>(
        &["inspect"],
        "NAME|ID [NAME|ID...]",
        "Show all that is known of containers, images, networks and volumes",
    ),
    command::<container::stats::Stats>(
        &["container stats", "stats"],
        "[CONTAINER...]",
        "Show what containers use, again and again",
    ),
    command::<container::port::Port>(
        &["container port", "port"],
        "CONTAINER [PRIVATE_PORT[/PROTO]]",
        "Show which ports of the host lead into a container",
    ),
    command::<container::prune::Prune>(
        &["container prune"],
        "",
        "Remove all containers that do not run",
    ),
    command::<container::top::Top>(
        &["container top", "top"],
        "CONTAINER [PS_OPTION...]",
        "Show the processes of a container",
    ),
    command::<container::cp::Cp>(
        &["container cp", "cp"],
        "CONTAINER:SRC_PATH|SRC_PATH|- DEST_PATH|-|CONTAINER:DEST_PATH",
        "Copy files between a container and the host",
    ),
    command::<container::mount::Mount>(
        &["container mount", "mount"],
        "[CONTAINER...]",
        "Mount the root file systems of containers, or list what is mounted",
    ),
    command::<container::mount::Unmount>(
        &["container umount", "container unmount", "umount", "unmount"],
        "[CONTAINER...]",
        "Undo mount",
    ),
    command::<system::unshare::Unshare>(
        &["unshare"],
        "[COMMAND] [ARG...]",
        "Run a program where the files of an ordinary user's containers can be reached",
    )
    .fails_with_125(),
    command::<container::diff::Diff>(
        &["container diff", "diff"],
        "CONTAINER",
        "Show what a container has changed of its image",
    ),
    command::<container::commit::Commit>(
        &["container commit", "commit"],
        "CONTAINER [REPOSITORY[:TAG]]",
        "Make an image of what a container has changed",
    ),
    command::<container::export::Export>(
        &["container export", "export"],
        "CONTAINER",
        "Write the root file system of a container to a tar archive",
    ),
    command::<build::Build>(
        &["image build", "build", "builder build", "buildx build"],
        "PATH|URL|-",
        "Make an image of a Dockerfile",
    )
    .common(),
    command::<build::cache::Prune>(
        &["builder prune", "buildx prune"],
        "",
        "Remove what the builder has cached",
    ),
    command::<build::cache::Du>(&["buildx du"], "", "Show what the builder has cached"),
    command::<build::buildx::Version>(
        &["buildx version"],
        "",
        "Show which version of buildx this is like",
    ),
    command::<build::buildx::Inspect>(&["buildx inspect"], "[NAME]", "Show the builder"),
    command::<build::buildx::Ls>(&["buildx ls"], "", "List the one builder"),
    command::<build::buildx::Create>(
        &["buildx create"],
        "[CONTEXT|ENDPOINT]",
        "Answer scripts that make a builder: there is one",
    ),
    command::<build::buildx::Use>(&["buildx use"], "NAME", "Use the one builder"),
    command::<build::buildx::Stop>(
        &["buildx stop"],
        "[NAME...]",
        "Answer scripts that stop a builder: it runs only while it builds",
    ),
    command::<build::buildx::Rm>(
        &["buildx rm"],
        "[NAME...]",
        "Answer scripts that remove a builder: the one that there is stays",
    ),
    command::<image::ls::Images>(
        &["image ls", "image list", "images"],
        "[REPOSITORY[:TAG]]",
        "List images",
    )
    .common(),
    command::<image::pull::Pull>(
        &["image pull", "pull"],
        "NAME[:TAG|@DIGEST]",
        "Take an image in from a registry",
    )
    .common(),
    command::<image::push::Push>(
        &["image push", "push"],
        "NAME[:TAG]",
        "Send an image to a registry",
    )
    .common(),
    command::<image::copy::Copy>(
        &["image copy"],
        "SOURCE DESTINATION",
        "Copy an image between registries, archives, layouts and this store",
    ),
    command::<image::referrers::Referrers>(
        &["image referrers"],
        "NAME[:TAG|@DIGEST]",
        "List signatures and other things that refer to an image in a registry",
    ),
    command::<image::search::Search>(
        &["search"],
        "TERM|HOST/TERM",
        "Find repositories in a registry, or the tags of one",
    ),
    command::<image::login::Login>(
        &["login"],
        "[SERVER]",
        "Check and keep the password for a registry",
    )
    .common(),
    command::<image::login::Logout>(
        &["logout"],
        "[SERVER]",
        "Forget the password for a registry",
    )
    .common(),
    command::<image::load::Load>(
        &["image load", "load"],
        "",
        "Take images in from an archive or a directory",
    )
    .common(),
    command::<image::import::Import>(
        &["image import", "import"],
        "FILE|- [REPOSITORY[:TAG]]",
        "Make an image of the files of a root file system",
    ),
    command::<image::save::Save>(
        &["image save", "save"],
        "IMAGE [IMAGE...]",
        "Write images to an archive",
    ),
    command::<image::tag::Tag>(
        &["image tag", "tag"],
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Give an image another name",
    ),
    command::<image::rm::Rmi>(
        &["image rm", "image remove", "rmi"],
        "IMAGE [IMAGE...]",
        "Remove names of images, and images without names",
    ),
    command::<image::prune::Prune>(&["image prune"], "", "Remove images that nothing needs"),
    command::<image::inspect::InspectImage>(
        &["image inspect"],
        "IMAGE [IMAGE...]",
        "Show all that is known of images",
    ),
    command::<image::history::History>(
        &["image history", "history"],
        "IMAGE",
        "Show the steps that made an image",
    ),
    command::<runtime::create::Create>(
        &["runtime create"],
        "ID",
        "Make a container of a bundle, and let it wait to be started",
    ),
    command::<runtime::operate::Start>(
        &["runtime start"],
        "ID",
        "Run the program of a container that was created",
    ),
    command::<runtime::create::Run>(
        &["runtime run"],
        "ID",
        "Make a container of a bundle and run its program",
    ),
    command::<runtime::exec::Exec>(
        &["runtime exec"],
        "ID [COMMAND] [ARG...]",
        "Run one more program in a container",
    )
    .fails_with_255(),
    command::<runtime::operate::State>(&["runtime state"], "ID", "Show what a container does"),
    command::<runtime::operate::Kill>(
        &["runtime kill"],
        "ID [SIGNAL]",
        "Send a signal to the first process of a container",
    ),
    command::<runtime::operate::Delete>(
        &["runtime delete"],
        "ID",
        "Remove a container that has stopped",
    ),
    command::<runtime::describe::Spec>(
        &["runtime spec"],
        "",
        "Write a configuration to begin with",
    ),
    command::<runtime::describe::Features>(
        &["runtime features"],
        "",
        "Show which parts of a configuration are understood",
    ),
    command::<runtime::list::List>(&["runtime list"], "", "List the containers of bundles"),
    command::<runtime::list::Ps>(
        &["runtime ps"],
        "ID [PS OPTIONS...]",
        "List the processes of a container",
    ),
    command::<runtime::operate::Pause>(
        &["runtime pause"],
        "ID",
        "Freeze all processes of a container",
    ),
    command::<runtime::operate::Resume>(
        &["runtime resume"],
        "ID",
        "Let the processes of a paused container go on",
    ),
    command::<runtime::update::Update>(
        &["runtime update"],
        "ID",
        "Change the limits of a container",
    ),
    command::<runtime::events::Events>(
        &["runtime events"],
        "ID",
        "Tell what a container uses, and when memory runs out",
    ),
    command::<runtime::checkpoint::Checkpoint>(
        &["runtime checkpoint"],
        "ID",
        "Write the processes of a container down",
    ),
    command::<runtime::checkpoint::Restore>(
        &["runtime restore"],
        "ID",
        "Make a container of what was written down",
    ),
    command::<registry::serve::Serve>(
        &["registry serve"],
        "",
        "Be a registry that images are pushed to and pulled from",
    ),
    command::<registry::check::Check>(
        &["registry check"],
        "",
        "Find what is damaged in a registry's folder",
    ),
    command::<registry::prune::Prune>(
        &["registry prune"],
        "",
        "Remove blobs that no manifest names from a registry's folder",
    ),
    command::<trust::add::Add>(
        &["trust add"],
        "SCOPE",
        "Say what images must be signed by, or that they need not be, or that they are refused",
    ),
    command::<trust::ls::Ls>(
        &["trust ls", "trust list"],
        "",
        "Show whose images are taken in",
    ),
    command::<trust::show::Show>(
        &["trust show"],
        "IMAGE",
        "Show what an image must be signed by",
    ),
    command::<trust::rm::Rm>(
        &["trust rm", "trust remove"],
        "SCOPE",
        "Take back what was said of images",
    ),
    command::<manifest::Create>(
        &["manifest create"],
        "MANIFEST_LIST MANIFEST [MANIFEST...]",
        "Begin a list of manifests, or add to one",
    ),
    command::<manifest::Annotate>(
        &["manifest annotate"],
        "MANIFEST_LIST MANIFEST",
        "Say what a manifest of a list is for",
    ),
    command::<manifest::inspect::Inspect>(
        &["manifest inspect"],
        "[MANIFEST_LIST] MANIFEST",
        "Show a manifest or a list of manifests",
    ),
    command::<manifest::Push>(
        &["manifest push"],
        "MANIFEST_LIST",
        "Push a list of manifests, and the images that it needs",
    ),
    command::<manifest::Rm>(
        &["manifest rm"],
        "MANIFEST_LIST [MANIFEST_LIST...]",
        "Remove lists of manifests from this machine",
    ),
    command::<network::create::Create>(&["network create"], "NETWORK", "Make a network"),
    command::<network::ls::Ls>(&["network ls", "network list"], "", "List networks"),
    command::<network::inspect::InspectNetwork>(
        &["network inspect"],
        "NETWORK [NETWORK...]",
        "Show all that is known of networks, and who is in them",
    ),
    command::<network::connect::Connect>(
        &["network connect"],
        "NETWORK CONTAINER",
        "Let a container join a network",
    ),
    command::<network::connect::Disconnect>(
        &["network disconnect"],
        "NETWORK CONTAINER",
        "Let a container leave a network",
    ),
    command::<network::rm::Rm>(
        &["network rm", "network remove"],
        "NETWORK [NETWORK...]",
        "Remove networks that no container is in",
    ),
    command::<network::prune::Prune>(
        &["network prune"],
        "",
        "Remove networks that no container belongs to",
    ),
    command::<network::reload::Reload>(
        &["network reload"],
        "",
        "Put back the rules that a firewall has flushed",
    ),
    command::<network::exists::Exists>(
        &["network exists"],
        "NETWORK",
        "Say by the exit code whether there is such a network",
    ),
    command::<volume::create::Create>(&["volume create"], "[VOLUME]", "Make a volume"),
    command::<volume::ls::Ls>(&["volume ls", "volume list"], "", "List volumes"),
    command::<volume::inspect::InspectVolume>(
        &["volume inspect"],
        "VOLUME [VOLUME...]",
        "Show all that is known of volumes",
    ),
    command::<volume::rm::Rm>(
        &["volume rm", "volume remove"],
        "VOLUME [VOLUME...]",
        "Remove volumes with all that is in them",
    ),
    command::<volume::prune::Prune>(
        &["volume prune"],
        "",
        "Remove volumes that no container uses",
    ),
    command::<volume::exists::Exists>(
        &["volume exists"],
        "VOLUME",
        "Say by the exit code whether there is such a volume",
    ),
    command::<volume::archive::Export>(
        &["volume export"],
        "VOLUME",
        "Write the files of a volume to a tar archive",
    ),
    command::<volume::archive::Import>(
        &["volume import"],
        "VOLUME FILE|-",
        "Unpack a tar archive into a volume",
    ),
    command::<system::df::Df>(&["system df"], "", "Show what takes how much of the disk"),
    command::<system::prune::Prune>(&["system prune"], "", "Remove all that nothing needs"),
    command::<system::events::Events>(
        &["system events", "events"],
        "",
        "Show what happens to containers, images and volumes",
    ),
    command::<system::boot::Boot>(
        &["boot"],
        "",
        "Start what is to run again after the machine was started",
    ),
    command::<system::version::Version>(
        &["version"],
        "",
        "Show the versions of the program and of what it offers",
    )
    .common(),
    command::<system::info::Info>(
        &["system info", "info"],
        "",
        "Show what this program has and what its host allows",
    )
    .common(),
    command::<system::check::Check>(
        &["system check"],
        "",
        "Find everything inconsistent in the store, and mend it",
    ),
    command::<system::share::ShareImages>(
        &["system share-images"],
        "USER [USER...]",
        "Show the images of this store to ordinary users as their own",
    ),
    command::<system::setup::Setup>(
        &["system setup"],
        "apparmor",
        "Print what an administrator may have to install, and how",
    ),
    command::<system::hello::HelloPage>(
        &["hello-page"],
        "",
        "Tell what a container looks like from inside",
    )
    .hidden(),
    command::<container::image::HelloImage>(&["hello-image"], "", "Make the image hello").hidden(),
    command::<container::image::AdoptImage>(
        &["adopt-image"],
        "ID",
        "Copy an image of another store into this one",
    )
    .hidden(),
    command::<build::layout::LayoutImage>(
        &["layout-image"],
        "CONTEXT PLATFORM",
        "Bring the layers of an image in an OCI layout",
    )
    .hidden(),
];
