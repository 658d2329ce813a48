#!/bin/sh
# Make the fonts in provenance/labels/fonts from Debian's packages fonts-dejavu-core and fonts-droid-fallback.
# Needs: apt-get (download only), dpkg, and a Python with fonttools.
set -eu
target=$(cd "$(dirname "$0")/../../provenance/labels/fonts" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -q fonts-dejavu-core fonts-droid-fallback
for package in *.deb; do dpkg -x "$package" .; done
dejavu=usr/share/fonts/truetype/dejavu/DejaVuSans.ttf
droid=usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf
subset="${PYTHON:-python3} -m fontTools.subset --no-hinting --desubroutinize --drop-tables+=FFTM"

# Latin, Greek, Cyrillic, Hebrew, Arabic, Vietnamese: the languages of the Union and some neighbours.
$subset "$dejavu" --output-file="$target/labels-latin.ttf" --unicodes="U+0020-007E,U+00A0-017F,U+0192,\
U+0218-021B,U+0370-03FF,U+0400-045F,U+0490-0491,U+05D0-05EA,U+0621-063A,U+0640-0652,U+067E,U+0686,U+06A9,U+06AF,\
U+06CC,U+1E9E,U+1EA0-1EF9,U+2010-2015,U+2018-201E,U+2022,U+2026,U+20AC,U+2122"

# Chinese, Japanese and Korean: the characters that labels of this kind are made of, and ASCII beside them.
$subset "$droid" --output-file=cjk.ttf --text="人工智能生成合成内容由制作製作標識标识机器機器機械學習学习学習画像照片图片圖片图像圖像影像\
視頻视频写真による作られたらましたですこのはを使用して修改編集编辑改変이미지생성됨인공지능제작합성으로된수정편집"
$subset "$dejavu" --output-file=ascii.ttf --unicodes="U+0020-007E" --layout-features=""
${PYTHON:-python3} -c '
import sys
from fontTools.merge import Merger
from fontTools.ttLib import TTFont
from fontTools.ttLib.scaleUpem import scale_upem
for name in sys.argv[1:3]:
    font = TTFont(name)
    scale_upem(font, 1024)
    for table in ("GSUB", "GPOS", "GDEF", "kern", "vhea", "vmtx", "gasp"):
        if table in font:
            del font[table]
    font.save(name)
Merger().merge(sys.argv[1:3]).save(sys.argv[3])
' ascii.ttf cjk.ttf "$target/labels-cjk.ttf"
ls -l "$target"
