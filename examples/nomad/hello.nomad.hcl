job "hello" {
  type = "batch"

  group "hello" {
    task "hello" {
      driver = "docker"

      config {
        image   = "alpine:3.20"
        command = "echo"
        args    = ["hello"]
        runtime = "onggi"
      }

      resources {
        cpu    = 500
        memory = 64
      }
    }
  }
}
