# The units of a host with all modules, as systemd would read them, and what else the modules set.
#
#   nix-instantiate --eval --strict --json tests/nix/eval.nix -A host --arg settings '{ services.recipe-ci.enable = true; }'
{
  settings ? { },
}:

let
  lib = import ./lib.nix;
  inherit (lib) mkOption types;

  derivation' =
    name: extra:
    {
      type = "derivation";
      inherit name;
      outPath = "/nix/store/00000000000000000000000000000000-${name}";
      meta.mainProgram = name;
    }
    // extra;

  # Any package by its name: what is in nixpkgs is not known here.
  named =
    names:
    lib.genAttrs names (name: derivation' name { });
  pkgs =
    named [
      "bash"
      "cargo-deny"
      "cargo-insta"
      "coreutils"
      "curl"
      "docker-client"
      "drone-runner-exec"
      "findutils"
      "gawk"
      "git"
      "git-lfs"
      "gnugrep"
      "gnused"
      "gnutar"
      "gzip"
      "iptables"
      "hello"
      "jq"
      "openssl"
      "rustup"
      "util-linux"
    ]
    // {
      stdenv.hostPlatform.system = "x86_64-linux";
      python3Packages = named [ "pytest" ];
      # Really in a store: the test's own.
      writeText = builtins.toFile;
      mkShell = shell: derivation' "shell" shell;
      callPackage = file: _: package file;
    };
  package =
    file:
    import file {
      inherit lib;
      rustPlatform.buildRustPackage = found: derivation' found.pname found;
      installShellFiles = derivation' "installShellFiles" { };
    };

  list = types.listOf types.str;
  of = type: mkOption { inherit type; };
  with' = type: default: mkOption { inherit type default; };
  words = with' list [ ];
  plain = with' (types.attrsOf types.anything) { };

  unit = {
    description = of types.str;
    after = words;
    wants = words;
    requires = words;
    wantedBy = words;
  };

  # What NixOS declares, as far as the modules set or read it.
  nixos.options = {
    assertions = with' (types.listOf types.anything) [ ];
    warnings = words;
    boot.kernelModules = words;
    environment = {
      systemPackages = with' (types.listOf types.package) [ ];
      variables = with' (types.attrsOf types.str) { };
      etc = with' (types.attrsOf (types.submodule { text = of types.str; })) { };
    };
    time.timeZone = with' (types.nullOr types.str) null;
    virtualisation.docker = {
      enable = with' types.bool false;
      liveRestore = with' types.bool true;
      package = with' types.package (derivation' "docker" { });
      autoPrune.enable = with' types.bool false;
      autoPrune.flags = words;
    };
    systemd = {
      tmpfiles.rules = words;
      services = with' (types.attrsOf (
        types.submodule (
          unit
          // {
            path = with' (types.listOf types.package) [ ];
            environment = with' (types.attrsOf types.str) { };
            restartIfChanged = with' types.bool true;
            serviceConfig = plain;
          }
        )
      )) { };
      timers = with' (types.attrsOf (types.submodule (unit // { timerConfig = plain; }))) { };
    };
  };

  config = lib.evalModules {
    arguments = { inherit pkgs; };
    modules = [
      nixos
      ../../nix/modules/harness.nix
      ../../nix/modules/drone-runner.nix
      ../../nix/modules/janitor.nix
      { config = settings; }
    ];
  };

  # As NixOS writes units: nixos/lib/systemd-lib.nix.
  value = found: if found == true then "true" else if found == false then "false" else toString found;
  section = name: keys: "[${name}]\n" + lib.concatStrings (lib.mapAttrsToList (key: found: "${key}=${value found}\n") keys);
  head =
    found:
    section "Unit" {
      Description = found.description;
      After = lib.concatStringsSep " " found.after;
      Wants = lib.concatStringsSep " " found.wants;
      Requires = lib.concatStringsSep " " found.requires;
    };
  install = found: section "Install" { WantedBy = lib.concatStringsSep " " found.wantedBy; };
  assignments = lib.mapAttrsToList (name: text: "Environment=${builtins.toJSON "${name}=${text}"}\n");
  service =
    _: found:
    head found
    + section "Service" found.serviceConfig
    + lib.concatStrings (
      assignments (
        {
          PATH = "${lib.makeBinPath found.path}:${lib.makeSearchPath "sbin" found.path}";
        }
        // found.environment
      )
    )
    + install found;
  timer = _: found: head found + section "Timer" found.timerConfig + install found;

  failed = builtins.filter (found: !found.assertion) config.assertions;
  suffix = tail: set: lib.mapAttrsToList (name: text: { name = "${name}.${tail}"; value = text; }) set;
in
{
  host =
    if failed != [ ] then
      throw "Failed assertions: ${lib.concatStringsSep "; " (map (found: found.message) failed)}"
    else
      {
        units = builtins.listToAttrs (
          suffix "service" (builtins.mapAttrs service config.systemd.services)
          ++ suffix "timer" (builtins.mapAttrs timer config.systemd.timers)
        );
        restart = builtins.mapAttrs (_: found: found.restartIfChanged) config.systemd.services;
        tools = map (tool: "${tool}") config.environment.systemPackages;
        inherit (config.environment) variables;
        etc = builtins.mapAttrs (_: found: found.text) config.environment.etc;
        tmpfiles = config.systemd.tmpfiles.rules;
        docker = { inherit (config.virtualisation.docker) enable liveRestore; };
        modules = config.boot.kernelModules;
        inherit (config) warnings;
      };

  package =
    let
      found = package ../../nix/package.nix;
    in
    {
      inherit (found) pname version doCheck;
      lock = toString found.cargoLock.lockFile;
      root = toString found.src.root;
      files = map toString found.src.fileset;
    };

  flake =
    let
      flake = import ../../flake.nix;
      self = flake.outputs {
        inherit self;
        nixpkgs = {
          inherit lib;
          legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (_: pkgs);
        };
      };
    in
    {
      inputs = builtins.mapAttrs (_: input: input.url) flake.inputs;
      packages = builtins.mapAttrs (_: found: builtins.mapAttrs (_: package: package.pname) found) self.packages;
      shell = map (tool: tool.name) self.devShells.x86_64-linux.default.packages;
      modules = map toString (
        builtins.filter builtins.isPath (builtins.attrValues self.nixosModules)
        ++ self.nixosModules.default.imports
      );
      checks = builtins.attrNames self.checks.x86_64-linux;
    };
}
