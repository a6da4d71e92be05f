fn main() -> std::process::ExitCode {
    kit::main(&changeset_review::STEP, option_env!("CUTOVER_COMMIT"))
}
