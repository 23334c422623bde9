#!/bin/sh
# Makes every PNG of this folder from the SVGs in source/. Run it after changing one of them and commit what it
# writes; the build itself needs none of these tools.
#
# Needs rsvg-convert (Debian: librsvg2-bin) and ImageMagick (imagemagick).
#
#   app/WIDTHxHEIGHT.png          the app icon, for bundles, windows and notifications
#   app/icon.ico                  the same for other desktops
#   tray/STATE-THEME-SIZE.png     one tray icon per state; THEME names the panel it stands on (dark, light)
#
# In the tray sources NEUTRAL, STATE and CUT stand for colours: the line of the dock, the colour of the state, and
# what shows through a filled mark. Every state has a shape of its own, so that colour is never the only sign.
set -eu
cd "$(dirname "$0")"
mkdir -p app tray

for size in 16 32 48 64 128 256 512; do
    rsvg-convert --width "$size" --height "$size" source/app.svg --output "app/${size}x${size}.png"
done
convert app/16x16.png app/32x32.png app/48x48.png app/256x256.png app/icon.ico

# state_colour STATE THEME: the state colours of the interface's design tokens.
state_colour() {
    case "$1-$2" in
    running-dark) echo '#4ea3ff' ;;   running-light) echo '#0b6bcb' ;;
    attention-dark) echo '#f0b429' ;; attention-light) echo '#9a6300' ;;
    failed-dark) echo '#ff6369' ;;    failed-light) echo '#c4262e' ;;
    *-dark) echo '#a7b0be' ;;         *-light) echo '#5d6777' ;;
    esac
}

for state in idle running attention failed offline; do
    for theme in dark light; do
        if [ "$theme" = dark ]; then neutral='#e7eaf0'; cut='#0b0d11'; else neutral='#262c36'; cut='#ffffff'; fi
        if [ "$state" = offline ]; then neutral=$(state_colour offline "$theme"); fi
        for size in 24 48; do
            sed -e "s/NEUTRAL/$neutral/g" -e "s/STATE/$(state_colour "$state" "$theme")/g" -e "s/CUT/$cut/g" \
                "source/tray-$state.svg" |
                rsvg-convert --width "$size" --height "$size" --output "tray/$state-$theme-$size.png"
        done
    done
done

# No time stamps or tool names inside, and true colour with alpha: the shell reads the pixels as they are.
for file in app/*.png tray/*.png; do
    convert "$file" -strip -define png:exclude-chunks=date,time -define png:color-type=6 -depth 8 "PNG32:$file"
done
