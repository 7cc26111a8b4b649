//! The nouns under which commands stand.

/// The groups of commands by noun, with the line that help shows.
pub const GROUPS: &[(&str, &str)] = &[
    ("container", "Make, run and look at containers"),
    (
        "image",
        "Take images in, name them, look at them, give them out",
    ),
    ("builder", "Make images of Dockerfiles"),
    (
        "buildx",
        "Make images of Dockerfiles, in the words of Docker's plugin",
    ),
    ("runtime", "Run containers of bundles, as runc and crun do"),
    ("registry", "Serve images to other programs and machines"),
    ("healthcheck", "See whether containers do their work"),
    ("trust", "Say whose images are taken in"),
    (
        "manifest",
        "Put images for several platforms under one name",
    ),
    ("network", "Say which containers talk to one another"),
    ("volume", "Keep files that outlive containers"),
    ("system", "Ask about this program and its host"),
];
