# Muster on the cluster that it manages: one server, on the node whose disk has
# its database.
#
#   nomad job run -var binary=https://files.example/muster-linux-amd64.tar.gz -var node=node-1 muster.nomad.hcl
#
# The archive holds muster and muster-agent side by side, as make build leaves
# them in bin/.

variable "binary" {
  type        = string
  description = "URL of an archive with muster and muster-agent"
}

variable "port" {
  type    = number
  default = 4750
}

variable "listen" {
  type    = string
  default = "0.0.0.0"
}

variable "advertise" {
  type        = string
  default     = ""
  description = "URL under which nodes reach the server; made of its node's address when left out"
}

variable "nomad_addr" {
  type        = string
  default     = "http://127.0.0.1:4646"
  description = "Nomad's API as the server's node reaches it"
}

variable "consul_addr" {
  type    = string
  default = "none"
}

variable "user" {
  type        = string
  default     = "root"
  description = "who owns the data folder"
}

variable "data_dir" {
  type        = string
  default     = "/var/lib/muster-server"
  description = "the server's data folder on its node"
}

variable "node" {
  type        = string
  default     = "."
  description = "name of the node that has the data folder, as a regular expression"
}

variable "node_pool" {
  type    = string
  default = "default"
}

job "muster" {
  type        = "service"
  node_pool   = var.node_pool
  datacenters = ["*"]

  group "server" {
    # One process has the database, and it stays where that is.
    count = 1

    constraint {
      attribute = "${node.unique.name}"
      operator  = "regexp"
      value     = var.node
    }

    network {
      mode = "host"
      port "http" {
        static = var.port
      }
    }

    restart {
      attempts = 10
      interval = "5m"
      delay    = "1s"
      mode     = "delay"
    }

    # A server that is away for a while stops no run: agents wait for it.
    update {
      max_parallel = 1
      health_check = "task_states"
    }

    task "server" {
      driver       = "raw_exec"
      user         = var.user
      kill_timeout = "15s"

      artifact {
        source      = var.binary
        destination = "local/bin"
      }

      config {
        command = "local/bin/muster"
        args    = ["server"]
      }

      env {
        MUSTER_DATA_DIR  = var.data_dir
        MUSTER_LISTEN    = "${var.listen}:${var.port}"
        MUSTER_ADVERTISE = var.advertise != "" ? var.advertise : "http://${NOMAD_ADDR_http}"
        NOMAD_ADDR       = var.nomad_addr
        CONSUL_HTTP_ADDR = var.consul_addr
      }

      # With ACLs keep Muster's own token in a Nomad variable, and not in this
      # file: nomad var put nomad/jobs/muster nomad_token=SECRET
      template {
        data        = <<-EOT
          {{ if nomadVarExists "nomad/jobs/muster" }}{{ with nomadVar "nomad/jobs/muster" }}
          NOMAD_TOKEN={{ .nomad_token }}
          {{ end }}{{ end }}
        EOT
        destination = "secrets/token.env"
        env         = true
      }

      resources {
        cpu    = 500
        memory = 512
      }
    }
  }
}
