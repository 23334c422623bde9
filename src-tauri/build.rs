//! Reads tauri.conf.json and makes the permissions of the commands below: what is not listed here and granted in
//! capabilities/main.json cannot be called by the page.

fn main() {
    let commands = tauri_build::AppManifest::new().commands(&[
        "connections",
        "remote_look",
        "remote_discover",
        "remote_add",
        "remote_enter",
        "remote_remove",
        "request",
        "request_give_up",
        "live_open",
        "live_next",
        "live_send",
        "live_close",
        "save_download",
        "upload_chosen",
        "preferences_get",
        "preferences_set",
        "about",
        "open_folder",
        "ready",
    ]);
    if let Err(error) =
        tauri_build::try_build(tauri_build::Attributes::new().app_manifest(commands))
    {
        panic!("{error:#}");
    }
}
