# What it takes to work on recipe-ci: `nix-shell nix/shell.nix`.
#
# The compiler is rustup's, because rust-toolchain.toml pins the version; the engine is the host's.
{
  pkgs ? import <nixpkgs> { },
}:

pkgs.mkShell {
  packages = [
    pkgs.rustup
    pkgs.cargo-deny
    pkgs.cargo-insta
    pkgs.docker-client
    pkgs.git
    pkgs.python3Packages.pytest
  ];
}
