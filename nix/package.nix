# recipe-ci from the lock file: `pkgs.callPackage ./nix/package.nix { }`.
#
# It takes the compiler of nixpkgs, which must be as new as `rust-version` in Cargo.toml. What is built from C (libgit2,
# zlib, ring) comes with its crate and needs only the C compiler that every build has: no cmake, no OpenSSL.
#
# At run time it needs `docker` (the client) and, for Python tests, `pytest` on PATH. They are not
# wrapped in here: the host's own client has to fit the host's engine.
{
  lib,
  rustPlatform,
  installShellFiles,
}:

rustPlatform.buildRustPackage {
  pname = "recipe-ci";
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;

  # Only what the build reads: a change of the documentation does not build anything again.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../clippy.toml
      ../harness
      ../runner
      ../tests
      # Tests and the demo read these with include_str!.
      ../docs
    ];
  };

  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [
    "--package"
    "runner"
  ];

  nativeBuildInputs = [ installShellFiles ];

  # The tests want a Docker Swarm, pytest and a writable /run/lock: `tests/run` on a host has them.
  doCheck = false;

  postInstall = ''
    installShellCompletion --cmd recipe-ci \
      --bash <($out/bin/recipe-ci completions bash) \
      --fish <($out/bin/recipe-ci completions fish) \
      --zsh <($out/bin/recipe-ci completions zsh)
    $out/bin/recipe-ci man > recipe-ci.1
    installManPage recipe-ci.1
  '';

  meta = {
    description = "Proves that a Co-op Cloud recipe works, on a real Docker Swarm";
    homepage = "https://git.coopcloud.tech/toolshed/recipe-ci";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "recipe-ci";
    platforms = lib.platforms.linux;
  };
}
