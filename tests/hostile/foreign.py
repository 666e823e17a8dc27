"""Files that are not videos of a supported kind, or that hold no video."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.hostile.answers import CORRUPT, EMPTY, NO_STREAM, UNSUPPORTED, Hostile
from tests.videos import CONTAINERS, grey, make_video, staircase


def foreign_texts(canary: Path, url: str) -> Iterator[Hostile]:
    texts = {
        "m3u8 of a file": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{canary}\n#EXT-X-ENDLIST\n",
        "m3u8 of a URL": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{url}/a.ts\n#EXT-X-ENDLIST\n",
        "m3u8 of playlists": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}/b.m3u8\n",
        "m3u8 with a key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}/key"\n#EXTINF:1,\n{url}/a.ts\n',
        "m3u8 of a pipe of protocols": f"#EXTM3U\n#EXTINF:1,\nsubfile,,start,0,end,9,,:{canary}\n",
        "ffconcat of a file": f"ffconcat version 1.0\nfile '{canary}'\n",
        "ffconcat of a URL": f"ffconcat version 1.0\nfile {url}/a.mp4\n",
        "ffconcat without its first line": f"file {canary}\n",
        "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
        f"<BaseURL>{url}/</BaseURL></MPD>",
        "SVG": f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}/a.png"/></svg>',
        "XML with an entity": f'<!DOCTYPE a [<!ENTITY b SYSTEM "file://{canary}">]><a>&b;</a>',
        "HTML": f"<!doctype html><video src='{url}/a.mp4'></video>",
        "JSON": f'{{"file": "{canary}"}}',
        "plain text": "a video of a cat\n" * 100,
        "a URL": f"{url}/a.mp4",
        "a path": str(canary),
        "RTSP redirect": "[Reference]\nRef1=rtsp://127.0.0.1:554/a\n",
        "subtitles": "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
        "WebVTT": "WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n",
        "FFmpeg metadata": ";FFMETADATA1\ntitle=x\n",
        "filter graph": f"movie={canary}",
        "AviSynth script": f'AviSource("{canary}")\n',
        "VapourSynth script": "import vapoursynth\n",
        "shell script": "#!/bin/sh\ncat /etc/passwd\n",
    }
    for name, text in texts.items():
        for suffix in ("mp4", "m3u8") if "m3u8" in name else ("mp4",):
            yield Hostile(
                name=f"{name} as .{suffix}",
                data=text.encode(),
                answers=(UNSUPPORTED,),
                file_name=f"x.{suffix}",
            )


def foreign_formats() -> Iterator[Hostile]:
    pictures = {
        "zeros": bytes(65_536),
        "ones": b"\xff" * 65_536,
        "random bytes": np.random.default_rng(1).bytes(65_536),
        "one byte": b"G",
        "PNG": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200),
        "WebP": b"RIFF\x40\0\0\0WEBPVP8 " + bytes(60),
        "WAV": b"RIFF\x40\0\0\0WAVEfmt " + bytes(60),
        "MP3": b"ID3\x04\0\0\0\0\0\0" + b"\xff\xfb\x90\0" * 100,
        "FLAC": b"fLaC" + bytes(100),
        "Ogg": b"OggS" + bytes(100),
        "PDF": b"%PDF-1.7\n" + bytes(100),
        "ZIP": b"PK\x03\x04" + bytes(100),
        "gzip": b"\x1f\x8b\x08" + bytes(100),
        "ELF": b"\x7fELF" + bytes(100),
        "pickle": b"\x80\x04\x95\x1f\0\0\0\0\0\0\0\x8c\x05posix\x8c\x06system\x93.",
        "YUV4MPEG": b"YUV4MPEG2 W64 H64 F25:1\nFRAME\n" + bytes(6144),
    }
    for name, data in pictures.items():
        yield Hostile(name=name, data=data, answers=(UNSUPPORTED,))
    for muxer, codec in {"flv": "flv", "asf": "wmv2", "ivf": "libvpx-vp9", "nut": "mpeg4"}.items():
        data = make_video(staircase(3), muxer=muxer, codec=codec)
        yield Hostile(name=f"{muxer} container", data=data, answers=(UNSUPPORTED,))
    for muxer, codec, pixel_format in [("apng", "apng", "rgb24"), ("webp", "libwebp_anim", "yuv420p")]:
        data = make_video(staircase(3), muxer=muxer, codec=codec, pixel_format=pixel_format)
        yield Hostile(name=f"{muxer} that moves", data=data, answers=(UNSUPPORTED,))


def foreign_codecs() -> Iterator[Hostile]:
    for codec, muxer, pixel_format in [
        ("flv", "avi", "yuv420p"),
        ("huffyuv", "avi", "yuv422p"),
        ("utvideo", "avi", "yuv420p"),
        ("snow", "avi", "yuv420p"),
        ("asv1", "avi", "yuv420p"),
        ("zmbv", "avi", "bgr0"),
        ("dnxhd", "mov", "yuv422p"),
    ]:
        options = {"profile": "dnxhr_lb"} if codec == "dnxhd" else {}
        size = (256, 256) if codec == "dnxhd" else (64, 64)
        data = make_video(
            [grey(90, *size)] * 2, muxer=muxer, codec=codec, pixel_format=pixel_format, options=options
        )
        yield Hostile(name=f"{codec} in {muxer}", data=data, answers=(UNSUPPORTED,))


def without_pictures() -> Iterator[Hostile]:
    for muxer, codec in {"mp4": "aac", "matroska": "aac", "mpegts": "mp2", "avi": "mp2"}.items():
        yield Hostile(name=f"sound alone in {muxer}", data=sound(muxer, codec), answers=(NO_STREAM,))
    yield Hostile(name="sound with a cover picture", data=_cover(), answers=(NO_STREAM,))
    for name in ("mp4", "mkv", "avi"):
        muxer, codec, _ = CONTAINERS[name]
        data = _headers_alone(muxer, codec)
        yield Hostile(name=f"no frames in {name}", data=data, answers=(EMPTY, CORRUPT, NO_STREAM))
    yield Hostile(name="no blocks in gif", data=b"GIF89a\1\0\1\0\0\0\0;", answers=(EMPTY, CORRUPT, NO_STREAM))


def sound(muxer: str, codec: str) -> bytes:
    """Return a second of silence."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as output:
        stream: Any = output.add_stream(codec, rate=48_000)
        stream.layout = "mono"
        width = stream.codec_context.frame_size or 1152
        kind = "fltp" if codec == "aac" else "s16"
        dtype = np.float32 if codec == "aac" else np.int16
        for index in range(48_000 // width):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, width), dtype), format=kind, layout="mono")
            frame.sample_rate, frame.pts = 48_000, index * width
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def _cover() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream: Any = output.add_stream("mjpeg", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        stream.disposition = av.stream.Disposition.attached_pic
        output.mux(stream.encode(av.VideoFrame.from_ndarray(grey(90), format="rgb24")))
        output.mux(stream.encode(None))
    data = buffer.getvalue()
    with av.open(io.BytesIO(data), "r") as check:
        if check.streams.video[0].disposition & av.stream.Disposition.attached_pic:
            return data
    return sound("mp4", "aac")


def _headers_alone(muxer: str, codec: str) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as output:
        stream: Any = output.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        output.start_encoding()
    return buffer.getvalue()
