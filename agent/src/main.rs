fn main() -> std::process::ExitCode {
    deckport_agent::cli::main()
}
