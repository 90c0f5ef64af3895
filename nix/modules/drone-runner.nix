# Drone's exec runner on a recipe-ci host.
#
# The secret comes from a file that Nix never reads:
#
#   services.recipe-ci.droneRunner = {
#     enable = true;
#     server = "drone.example.org";
#     environmentFile = "/run/secrets/drone-runner"; # DRONE_RPC_SECRET=...
#     capacity = 2;
#   };
{
  config,
  lib,
  pkgs,
  ...
}:

let
  host = config.services.recipe-ci;
  cfg = host.droneRunner;

  # The runner starts steps with an environment made from nothing, so what the unit has does not reach them;
  # this file does. A step's own `environment`, and the parameters of a build, win over it.
  steps = pkgs.writeText "recipe-ci-steps.env" (
    lib.concatStrings (lib.mapAttrsToList (name: value: "${name}='${value}'\n") host.environment)
  );
in
{
  imports = [ ./harness.nix ];

  options.services.recipe-ci.droneRunner = {
    enable = lib.mkEnableOption "Drone's exec runner, which starts the runs";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.drone-runner-exec;
      defaultText = lib.literalExpression "pkgs.drone-runner-exec";
      description = "The runner.";
    };

    server = lib.mkOption {
      type = lib.types.str;
      example = "drone.example.org";
      description = "Host and port of the Drone server (DRONE_RPC_HOST).";
    };

    protocol = lib.mkOption {
      type = lib.types.enum [
        "https"
        "http"
      ];
      default = "https";
      description = "How the server is reached (DRONE_RPC_PROTO).";
    };

    capacity = lib.mkOption {
      type = lib.types.ints.positive;
      default = 2;
      description = ''
        How many builds go on at once (DRONE_RUNNER_CAPACITY). Nothing else here or in recipe-ci limits it.
      '';
    };

    environmentFile = lib.mkOption {
      type = lib.types.path;
      example = "/run/secrets/drone-runner";
      description = "A file with DRONE_RPC_SECRET and what else must not be in the store.";
    };
  };

  config = lib.mkIf (host.enable && cfg.enable) {
    assertions = [
      {
        assertion = lib.all (value: !(lib.hasInfix "'" value || lib.hasInfix "\n" value)) (
          lib.attrValues host.environment
        );
        message = "services.recipe-ci.settings: a value with a quote or a line break cannot be handed to Drone's steps";
      }
      {
        assertion = !(lib.hasPrefix builtins.storeDir (toString cfg.environmentFile));
        message = "services.recipe-ci.droneRunner.environmentFile is in the store, where everybody can read it: write it as a string";
      }
    ];

    systemd.services.drone-runner-exec = {
      description = "Drone's exec runner";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      # Stopping goes the other way round: the runs tear down while there is still an engine.
      after = [
        "network-online.target"
        "docker.service"
      ]
      ++ lib.optional host.prepare "recipe-ci-host.service";
      # A new configuration must not cancel the runs of the old one; `systemctl restart` does.
      restartIfChanged = false;
      path = host.tools;
      environment = {
        HOME = toString host.home;
        DRONE_RPC_HOST = cfg.server;
        DRONE_RPC_PROTO = cfg.protocol;
        DRONE_RUNNER_CAPACITY = toString cfg.capacity;
        DRONE_RUNNER_ENVFILE = "${steps}";
      };
      serviceConfig = {
        ExecStart = "${cfg.package}/bin/drone-runner-exec";
        EnvironmentFile = toString cfg.environmentFile;
        Restart = "always";
        RestartSec = 10;

        # What a stop does to runs that are under way. The runner ends at once on SIGTERM and kills its steps.
        # - `mixed` would then SIGKILL whatever is left, at once: worker and supervisor in the middle of
        #   teardown (systemd.kill(5): "the main process of a unit has exited").
        # - `process` would leave them, but the unit would count as stopped: at shutdown the engine goes next,
        #   with teardown still at work, and a restart would have more runs than the capacity says.
        # - `control-group` sends SIGTERM to all of them and waits until all are gone. That is a cancel, the
        #   second SIGTERM is only noted, and teardown asks the engine itself.
        KillMode = "control-group";
        # More than teardown's budget of 10 min and the 30 s after which the supervisor takes over. 90 s, the
        # default, would end in SIGKILL with half an app left.
        TimeoutStopSec = 720;
        # One test that runs out of memory must not stop the unit, and so cancel everybody's runs.
        OOMPolicy = "continue";
      };
    };
  };
}
