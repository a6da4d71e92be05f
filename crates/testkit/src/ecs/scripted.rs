//! Tasks that do what a test says, without processes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::launcher::{Launcher, Running, TaskSpec};

/// What the tasks of an image do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Becomes healthy after the scheduler has looked at it so many times; with 0, at the first look.
    Healthy(usize),
    /// Ends with this exit code before the first look.
    Exits(i32),
    /// Runs and never becomes healthy.
    NeverHealthy,
}

/// A launcher with a behaviour per image reference; a reference without one can't be pulled. Clones share the script.
#[derive(Clone, Default)]
pub struct ScriptedLauncher(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    images: HashMap<String, Behaviour>,
    /// Task ARN to behaviour, for those that run.
    alive: HashMap<String, Behaviour>,
    launched: Vec<String>,
}

impl ScriptedLauncher {
    /// A launcher for these images.
    pub fn new(images: &[(&str, Behaviour)]) -> Self {
        let launcher = Self::default();
        for (image, behaviour) in images {
            launcher.set(image, *behaviour);
        }
        launcher
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, new tasks of the image do this: its migration has run, say.
    pub fn set(&self, image: &str, behaviour: Behaviour) {
        self.script().images.insert(image.to_owned(), behaviour);
    }

    /// A running task ends with this exit code.
    pub fn end(&self, task_arn: &str, exit_code: i32) {
        if let Some(behaviour) = self.script().alive.get_mut(task_arn) {
            *behaviour = Behaviour::Exits(exit_code);
        }
    }

    /// ARNs of all tasks that were started, in order.
    pub fn launched(&self) -> Vec<String> {
        self.script().launched.clone()
    }

    /// ARNs of the tasks that run, sorted.
    pub fn alive(&self) -> Vec<String> {
        let mut alive: Vec<String> = self.script().alive.keys().cloned().collect();
        alive.sort();
        alive
    }
}

impl Launcher for ScriptedLauncher {
    fn launch(&self, spec: &TaskSpec) -> Result<Box<dyn Running>, String> {
        let image = spec.main_container().map(|c| c.image.as_str()).unwrap_or_default();
        let mut script = self.script();
        let behaviour = *script
            .images
            .get(image)
            .ok_or_else(|| format!("CannotPullContainerError: {image}: not found"))?;
        script.alive.insert(spec.task_arn.clone(), behaviour);
        script.launched.push(spec.task_arn.clone());
        drop(script);
        Ok(Box::new(Scripted { launcher: self.clone(), task: spec.task_arn.clone(), looks: 0 }))
    }
}

struct Scripted {
    launcher: ScriptedLauncher,
    task: String,
    looks: usize,
}

impl Scripted {
    fn behaviour(&self) -> Option<Behaviour> {
        self.launcher.script().alive.get(&self.task).copied()
    }
}

impl Running for Scripted {
    fn poll(&mut self) -> Option<i32> {
        match self.behaviour()? {
            Behaviour::Exits(code) => Some(code),
            Behaviour::Healthy(_) | Behaviour::NeverHealthy => None,
        }
    }

    fn healthy(&mut self) -> bool {
        self.looks += 1;
        matches!(self.behaviour(), Some(Behaviour::Healthy(after)) if self.looks > after)
    }

    fn stop(&mut self) {
        self.launcher.script().alive.remove(&self.task);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop();
    }
}
