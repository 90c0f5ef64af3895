//! The stand-in for abra on a test's `PATH`.

use harness::abra::proof::Proof;

use super::{TestEnv, command, repository};

impl TestEnv {
    /// Gives every run the stand-in for abra, with `quirks` (`+x,-y`) beyond its own; it keeps its log and its
    /// backups in `abra` below the root. With `hang` that call never ends.
    pub(crate) fn with_abra(&mut self, quirks: &str, hang: &str) {
        let python = command("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .expect("python3 is there");
        let text = format!(
            "#!/bin/sh\nexport FAKE_ABRA_DIR='{}' FAKE_ABRA_QUIRKS='{quirks}' FAKE_ABRA_HANG='{hang}'\n\
             exec '{}' -B '{}' \"$@\"\n",
            self.root.join("abra").display(),
            String::from_utf8_lossy(&python.stdout).trim(),
            repository().join("tests/fakes/abra").display(),
        );
        self.write("bin/abra", &text);
        if !self.vars["PATH"].starts_with(&self.root.join("bin").display().to_string()) {
            self.prepend_path(&self.root.join("bin"));
        }
        // As `doctor --abra` does, but for every quirk: `--driver auto` takes this abra.
        let state = self.root.join("state");
        let proof = Proof::of_program(&self.root.join("bin/abra"), "0.13.0-beta-06a57de");
        std::fs::create_dir_all(&state).expect("the root is writable");
        proof
            .and_then(|proof| proof.write(&state))
            .expect("the root is writable");
    }
}
