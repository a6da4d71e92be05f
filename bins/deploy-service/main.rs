fn main() -> std::process::ExitCode {
    kit::main(&deploy_service::STEP, option_env!("CUTOVER_COMMIT"))
}
