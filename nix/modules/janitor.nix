# The janitor of a host, every few minutes and after every boot.
#
# Hosts that are not NixOS have `recipe-ci janitor install`.
{
  config,
  lib,
  ...
}:

let
  host = config.services.recipe-ci;
  cfg = host.janitor;
in
{
  imports = [ ./harness.nix ];

  options.services.recipe-ci.janitor = {
    enable = lib.mkEnableOption "the timer that removes the apps of dead recipe-ci runs";

    every = lib.mkOption {
      type = lib.types.strMatching "[0-9]+(s|min|h)";
      default = "10min";
      description = ''
        The time between the starts of two sweeps, half an hour at most: after an hour without one, runs say
        that nothing sweeps the host.
      '';
    };
  };

  config = lib.mkIf (host.enable && cfg.enable) {
    systemd.services.recipe-ci-janitor = {
      description = "Remove the apps of dead recipe-ci runs";
      after = [ "docker.service" ];
      path = host.tools;
      # The same places as the runs: with another lock directory live apps would look dead.
      environment = host.environment // {
        HOME = toString host.home;
      };
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${lib.getExe host.package} janitor";
        # Eight orphans that all take their whole time to go, and a warm app whose data takes half an hour.
        TimeoutStartSec = 3600;
      };
    };

    systemd.timers.recipe-ci-janitor = {
      description = "Remove the apps of dead recipe-ci runs, again and again";
      wantedBy = [ "timers.target" ];
      timerConfig = {
        # Locks are gone after a boot, so every app of before is an orphan. No Persistent: that is for
        # calendar times.
        OnBootSec = "1min";
        OnUnitActiveSec = cfg.every;
        AccuracySec = "10s";
      };
    };
  };
}
