# Part of the configuration of a Nomad client: its tasks may name the runtime that Docker's daemon.json
# (../docker/daemon.json) has.
plugin "docker" {
  config {
    allow_runtimes = ["onggi", "runc"]
  }
}
