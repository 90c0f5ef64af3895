# recipe-ci for Nix: the program, a shell to work on it, and NixOS modules for a host.
#
# It exposes modules and no configuration of a host: a host's flake imports `nixosModules.default`, and its
# name stays in one place.
{
  description = "Proves that a Co-op Cloud recipe works, on a real Docker Swarm";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: rec {
        recipe-ci = pkgs.callPackage ./nix/package.nix { };
        default = recipe-ci;
      });

      devShells = each (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      nixosModules = {
        harness = ./nix/modules/harness.nix;
        drone-runner = ./nix/modules/drone-runner.nix;
        janitor = ./nix/modules/janitor.nix;
        default = {
          imports = [
            self.nixosModules.harness
            self.nixosModules.drone-runner
            self.nixosModules.janitor
          ];
        };
      };

      # The program builds, and a whole system with every module does. tests/integration/nix.rs looks at the
      # units themselves, without nixpkgs.
      checks = each (pkgs: {
        package = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
        host =
          (nixpkgs.lib.nixosSystem {
            inherit (pkgs.stdenv.hostPlatform) system;
            modules = [
              self.nixosModules.default
              {
                boot.isContainer = true;
                system.stateVersion = "25.11";
                services.recipe-ci = {
                  enable = true;
                  janitor.enable = true;
                  droneRunner.enable = true;
                  droneRunner.server = "drone.example.org";
                  droneRunner.environmentFile = "/run/secrets/drone-runner";
                };
              }
            ];
          }).config.system.build.toplevel;
      });
    };
}
