//! Network namespaces: making them, running commands and sockets inside.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};

use crate::process::{self, run};
use crate::sys::{self, Before};
use crate::topology::netns_path;

/// A named network namespace. One made by [`Netns::unique`] goes when the handle goes.
#[derive(Debug)]
pub struct Netns {
    name: String,
    owned: bool,
}

impl Netns {
    /// Makes a namespace with a name of its own and its loopback interface up.
    pub fn unique(label: &str) -> Result<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("herald-t{}-{count}-{label}", std::process::id());
        let mut namespace = Self::create(&name)?;
        namespace.owned = true;
        Ok(namespace)
    }

    /// Makes a namespace that stays until [`Netns::remove`].
    pub fn create(name: &str) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self::open(name);
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// The namespace of that name, which someone else keeps.
    pub fn open(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            owned: false,
        }
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, as `nsenter --net=` takes it.
    pub fn path(&self) -> PathBuf {
        netns_path(&self.name)
    }

    /// True if it is there.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// Removes it; nothing to do if it is gone.
    pub fn remove(&self) -> Result<()> {
        if self.exists() {
            run(Command::new("ip").args(["netns", "del", &self.name]))?;
        }
        Ok(())
    }

    /// A command that will run inside. Unlike `ip netns exec` it leaves /sys alone, and with it the cgroups.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(program);
        sys::before_exec(&mut command, vec![self.join()?]);
        Ok(command)
    }

    /// Runs a command inside to its end and gives what it printed; an error if it fails.
    pub fn run(&self, command: &[&str]) -> Result<String> {
        run(&mut self.words(command)?)
    }

    /// Runs a command inside to its end, whatever its exit status.
    pub fn output(&self, command: &[&str]) -> Result<Output> {
        process::output(&mut self.words(command)?)
    }

    /// Runs a function on a thread inside: sockets it opens belong to the namespace, wherever they are used
    /// afterwards.
    pub fn enter<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace: OwnedFd = self.file()?.into();
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| sys::join(&namespace).map(|()| function()));
            match inside.join() {
                Ok(result) => result.with_context(|| format!("enter namespace {}", self.name)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// One `ip` command, its words separated by blanks.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut command = Command::new("ip");
        run(command
            .args(["-n", &self.name])
            .args(words.split_whitespace()))
    }

    /// Sets a switch below `/proc/sys/net`, for example `ipv4/ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        let written = self.enter(|| fs::write(&path, value))?;
        written.with_context(|| format!("set {path} to {value} in {}", self.name))
    }

    /// What a child must do first to run inside.
    pub(crate) fn join(&self) -> Result<Before> {
        Ok(Before::Join(self.file()?.into()))
    }

    fn words(&self, command: &[&str]) -> Result<Command> {
        let (program, arguments) = command.split_first().ok_or_else(|| anyhow!("no command"))?;
        let mut command = self.command(program)?;
        command.args(arguments);
        Ok(command)
    }

    fn file(&self) -> Result<File> {
        File::open(self.path()).with_context(|| format!("no network namespace {}", self.name))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if self.owned {
            // Nobody to tell; the name shows in `ip netns` if it stayed.
            drop(self.remove());
        }
    }
}
