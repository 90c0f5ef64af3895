# A host on which recipe-ci runs: the program, its places, the engine, and the settings that all units share.
#
#   services.recipe-ci = {
#     enable = true;
#     zone = "ci.example.org";
#   };
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.recipe-ci;
in
{
  options.services.recipe-ci = {
    enable = lib.mkEnableOption "recipe-ci, which proves Co-op Cloud recipes on this host's Docker Swarm";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ../package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./nix/package.nix { }";
      description = "The program.";
    };

    zone = lib.mkOption {
      type = lib.types.str;
      default = "ci.localhost";
      description = "The zone of the run apps' domains (CCCI_ZONE).";
    };

    home = lib.mkOption {
      type = lib.types.path;
      default = "/root";
      description = ''
        The operator's home: `~/.abra` and docker's login are there. It is HOME of every unit here, and what
        a pipeline's step must export.
      '';
    };

    lockDir = lib.mkOption {
      type = lib.types.path;
      default = "/run/lock";
      description = "Where app locks are (CCCI_APP_LOCK_DIR). It must be empty after a boot.";
    };

    runsDir = lib.mkOption {
      type = lib.types.path;
      default = "/var/lib/cc-ci-runs";
      description = "Where run directories are (CCCI_RUNS_DIR).";
    };

    stateDir = lib.mkOption {
      type = lib.types.path;
      default = "/var/lib/recipe-ci";
      description = "The host's own state (CCCI_STATE_DIR).";
    };

    warmDir = lib.mkOption {
      type = lib.types.path;
      default = "/var/lib/ci-warm";
      description = ''
        Where the warm apps' records and snapshots are (CCCI_WARM_DIR): a local directory that survives a boot,
        with room for the data of every enrolled recipe twice.
      '';
    };

    settings = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      default = { };
      example = {
        CCCI_FORGE_URL = "https://git.example.org";
        CCCI_FORGE_TOKEN_FILE = "/run/secrets/forge-token";
      };
      description = ''
        Further settings of docs/operating.md, for runs, the janitor and login shells alike. They are readable
        by everybody on the host: give secrets as files.
      '';
    };

    extraTools = lib.mkOption {
      type = lib.types.listOf lib.types.package;
      default = [ ];
      description = "Programs that tests and hooks need beyond the usual ones.";
    };

    tools = lib.mkOption {
      type = lib.types.listOf lib.types.package;
      readOnly = true;
      description = "What is on PATH of every unit and of login shells.";
    };

    environment = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      readOnly = true;
      description = "The settings that every unit has.";
    };

    prepare = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = ''
        Whether `recipe-ci doctor --fix` runs at boot: it makes the engine a swarm of one where it is in none,
        and creates the network `proxy`. What it cannot mend fails the unit.
      '';
    };
  };

  config = lib.mkIf cfg.enable {
    # One list for all: a tool that is on a pipeline's PATH and not on the janitor's, or on a shell's and not
    # on a pipeline's, is a test that passes by hand and fails at night.
    services.recipe-ci.tools = [
      cfg.package
      # The client that fits the engine.
      config.virtualisation.docker.package
      pkgs.bash
      pkgs.coreutils
      pkgs.findutils
      pkgs.gnugrep
      pkgs.gnused
      pkgs.gawk
      pkgs.gnutar
      pkgs.gzip
      pkgs.iptables
      pkgs.curl
      pkgs.jq
      # Drone's clone step.
      pkgs.git
      pkgs.git-lfs
      pkgs.openssl
      pkgs.util-linux
      pkgs.python3Packages.pytest
    ]
    ++ cfg.extraTools;

    services.recipe-ci.environment = {
      CCCI_ZONE = cfg.zone;
      # toString: a path that is interpolated would be copied to the store.
      CCCI_APP_LOCK_DIR = toString cfg.lockDir;
      CCCI_RUNS_DIR = toString cfg.runsDir;
      CCCI_STATE_DIR = toString cfg.stateDir;
      CCCI_WARM_DIR = toString cfg.warmDir;
      ABRA_DIR = "${toString cfg.home}/.abra";
    }
    // cfg.settings;

    environment.systemPackages = cfg.tools;
    # A run by hand has to see the locks of the pipelines' runs. ABRA_DIR is left out: abra reads it, too, and
    # the people on this host have homes of their own.
    environment.variables = removeAttrs cfg.environment [ "ABRA_DIR" ];
    # Recipes mount it; NixOS has none.
    environment.etc.timezone.text = "${if config.time.timeZone == null then "UTC" else config.time.timeZone}\n";

    systemd.tmpfiles.rules = [
      "d ${toString cfg.lockDir} 0755 root root -"
      "d ${toString cfg.runsDir} 0755 root root -"
      "d ${toString cfg.stateDir} 0755 root root -"
      # Snapshots are an app's data, and its secrets are with them.
      "d ${toString cfg.warmDir} 0700 root root -"
    ];

    virtualisation.docker.enable = true;
    # The default of NixOS; the engine refuses to be in a swarm with it.
    virtualisation.docker.liveRestore = false;
    # Service addresses and ingress ports are IPVS.
    boot.kernelModules = [ "ip_vs" ];

    warnings =
      lib.optional
        (
          config.virtualisation.docker.autoPrune.enable
          && lib.elem "--all" config.virtualisation.docker.autoPrune.flags
        )
        ''
          virtualisation.docker.autoPrune with --all removes the images that runs keep on the engine, so every
          run pulls them again; registries limit that.
        '';

    systemd.services.recipe-ci-host = lib.mkIf cfg.prepare {
      description = "Prepare this host for recipe-ci runs";
      wantedBy = [ "multi-user.target" ];
      requires = [ "docker.service" ];
      after = [ "docker.service" ];
      path = cfg.tools;
      environment = cfg.environment // {
        HOME = toString cfg.home;
      };
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${lib.getExe cfg.package} doctor --fix";
      };
    };
  };
}
