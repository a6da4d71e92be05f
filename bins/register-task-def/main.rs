fn main() -> std::process::ExitCode {
    kit::main(&register_task_def::STEP, option_env!("CUTOVER_COMMIT"))
}
