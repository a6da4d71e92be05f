fn main() -> std::process::ExitCode {
    kit::main(&copy_objects::STEP, option_env!("CUTOVER_COMMIT"))
}
