fn main() -> std::process::ExitCode {
    kit::main(&tag_release::STEP, option_env!("CUTOVER_COMMIT"))
}
