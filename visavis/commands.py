"""What can be typed: one dataclass a command, its fields the options. What a command needs is imported when it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

Size = Literal[128, 256, 512]


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What all commands that render have in common."""

    size: Size = 256
    "Side of the rendered frames in pixels; 128 for generators that can, such as fomm and dagan."
    generator: str = "portrait"
    """Which generator renders: mesh takes a fifth of portrait's time and shows less; adaat, fomm, dagan, iplap, lsr and
    rhythmic need weights that were trained or imported."""
    runtime: str = "auto"
    "What executes the generator; auto chooses. A number limits its threads, e.g. auto:1."


@dataclass(frozen=True, kw_only=True)
class Render(Rendering):
    """Animate a picture with the face in a video; writes an mp4 with the video's sound.

    Frame k of the output shows frame k of the driving video, at the same rate and count.
    """

    source: tuple[Path, ...]
    "The picture to animate: one person, face visible. More pictures of the same person lend what it does not show."
    driving: Path
    "The video (or recorded motion track, .npz) whose face moves the picture."
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    "The mp4 to write."
    motion: Literal["relative", "absolute"] = "relative"
    "relative: move from the picture's own pose; absolute: take over the driver's pose and place as they are."
    best_frame: bool = False
    """Measure the driver's motion from the frame in which he is posed most like the picture, instead of from the first
    one: for generators that are driven by keypoints. The video is looked through first."""
    crop: Literal["auto", "none"] = "auto"
    "auto: find the head and crop around it; none: the picture already is a square head crop, keep its geometry."
    paste_back: bool = False
    "Put the moving head back into the full picture instead of showing the square crop."
    quiet: bool = False
    "No progress bar and no summary."

    def run(self) -> int:
        from visavis.render import render

        return render(self)


@dataclass(frozen=True, kw_only=True)
class Speak(Rendering):
    """Animate a picture with a voice: the mouth follows it, the head nods and blinks; writes an mp4 with the sound."""

    source: tuple[Path, ...]
    "The picture to animate: one person, face visible. More pictures of the same person lend what it does not show."
    audio: Path
    "The voice: any sound file, or a video with sound."
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    "The mp4 to write."
    lips: Literal["auto", "voice", "iplap", "rhythmic"] = "auto"
    """What moves jaw and lips. voice: the small network that comes along. iplap: IP-LAP's landmark generator, for the
    generator of that name. rhythmic: the learners of Rhythmic Head Motion, which move face and head. auto: those of the
    generator where you have installed weights for them, else voice."""
    like: Path | None = None
    """For lips of rhythmic: a video of somebody talking, three seconds or more, as whom the head is to move. Without,
    as one that was still at the beginning."""
    mouth: float = 1.0
    "How wide the mouth opens, against what is most probable: 0 to 3. Not for lips of IP-LAP."
    head: float = 1.0
    "How much the head moves, against people who talk: 0 to 3."
    seed: int = 0
    "Another number gives other nods and blinks."
    crop: Literal["auto", "none"] = "auto"
    "auto: find the head and crop around it; none: the picture already is a square head crop, keep its geometry."
    paste_back: bool = False
    "Put the moving head back into the full picture instead of showing the square crop."
    quiet: bool = False
    "No progress bar and no summary."

    def run(self) -> int:
        from visavis.speak import speak

        return speak(self)


@dataclass(frozen=True, kw_only=True)
class Demo(Rendering):
    """Watch a call: one process sends face motion and voice, another one renders the talking head.

    Ends with an mp4 (driving beside rendered) and a table of what was measured. Without options it uses the material
    that comes with the package.
    """

    source: Path | None = None
    "The picture to animate, instead of the one that comes along."
    driving: Path | None = None
    "The video with sound that plays the camera, instead of the one that comes along."
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("visavis-demo.mp4")
    "The mp4 to write."
    seconds: float | None = None
    "How long the call lasts; the driving video is repeated as needed. Default: as long as it is."
    report: Path | None = None
    "Also write the measured figures as JSON here."

    def run(self) -> int:
        from visavis.demo.run import demo

        return demo(self)


@dataclass(frozen=True, kw_only=True)
class Track:
    """Record the face motion in a video, and its sound, as a motion track that can drive instead of the video."""

    driving: Path
    "The video: one person, face visible."
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    "The motion track (.npz) to write."

    def run(self) -> int:
        from visavis.render import record_track

        return record_track(self)


@dataclass(frozen=True)
class Serve:
    """Run the meeting point where two callers find each other. It sees addresses, never face or voice."""

    host: str = "127.0.0.1"
    "Address to listen on; 0.0.0.0 for every network of this machine."
    port: int = 8710
    "Port to listen on."

    def run(self) -> int:
        from visavis.serve import serve

        return serve(self)


@dataclass(frozen=True, kw_only=True)
class Call(Rendering):
    """Call somebody: your face's motion and your voice go out, the other's talking head appears on a page."""

    room: str
    "Name of the room; both callers give the same."
    token: str
    "The room's secret. Whoever comes first sets it; who comes with another one is refused."
    source: Path | None = None
    "The picture that the other side sees moving. Without it you only receive."
    server: str = "http://127.0.0.1:8710"
    "Where `visavis serve` runs."
    camera: str = "camera"
    """camera, camera:1 or /dev/video2; a video file with sound; a recorded motion track (.npz); off, or a sound file:
    your voice alone moves your picture; none: send nothing."""
    microphone: str = "auto"
    "auto: the sound of a video file, else the default microphone; none: no voice; or a device name."
    stun: str | None = None
    "STUN server, e.g. stun:stun.example.org:3478. Needed between different networks."
    turn: str | None = None
    "TURN server, e.g. turn:turn.example.org:3478, for networks that let nothing else through."
    turn_user: str | None = None
    "User name at the TURN server."
    turn_password: str | None = None
    "Password at the TURN server."
    page_port: int = 8711
    "Port on 127.0.0.1 of the page that shows the call."
    record: Path | None = None
    "Also record what is shown and heard as mp4 here."
    webcam: bool = False
    "Also feed what is shown into a virtual webcam (extra: webcam)."

    def run(self) -> int:
        from visavis.call import call

        return call(self)


@dataclass(frozen=True, kw_only=True)
class Webcam(Rendering):
    """Be seen as your picture in any meeting program: camera in, virtual webcam out."""

    source: tuple[Path, ...]
    "The picture to animate: one person, face visible. More pictures of the same person lend what it does not show."
    camera: str = "camera"
    "camera, camera:1 or /dev/video2, or a video file."
    device: str | None = None
    "The virtual webcam, e.g. /dev/video10; default: the first one found."
    motion: Literal["relative", "absolute"] = "relative"
    "relative: move from the picture's own pose; absolute: take over your pose and place as they are."
    size: Size = 512
    "Side of the rendered frames in pixels."

    def run(self) -> int:
        from visavis.webcam import webcam

        return webcam(self)


@dataclass(frozen=True, kw_only=True)
class Bench(Rendering):
    """Measure this machine: frames per second, latency, bitrate. Prints a table, writes JSON if asked to."""

    what: Annotated[Literal["render", "motion", "call", "loss", "gpu"], tyro.conf.Positional] = "render"
    """render: the generator alone; motion: camera frames to packets; call: a whole call, both sides on this machine;
    loss: calls through bad networks, without rendering; gpu: kernels and the networks of all generators on an NVIDIA
    GPU, which takes long and looks at no other option but --output, beside which it also writes a plot."""
    source: Path | None = None
    "Picture; default: the first frame of each driving video that is given, else the one that comes along."
    driving: tuple[Path, ...] = ()
    "Videos; default: the one that comes along."
    seconds: float = 10.0
    "How long to measure."
    compare: tuple[str, ...] = ()
    "render: other runtimes to measure as well, e.g. openvino:1 onnxruntime torch."
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    "Write the figures as JSON here."

    def run(self) -> int:
        from visavis.bench import bench

        return bench(self)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a generator by a recipe; or prepare a folder of your own videos: `visavis train prepare FOLDER -o DATA`; or
    fine-tune `lsr` on one person, in some minutes: `visavis train subject me.mp4 -o FOLDER`.

    A run can be stopped at any time (Ctrl-C) and goes on with --resume, as if it had not been stopped.
    """

    recipe: Annotated[str, tyro.conf.Positional]
    "Name of a recipe that comes along, or a .toml file of your own; or the word `prepare` or `subject`."
    folder: Annotated[Path | None, tyro.conf.Positional] = None
    """With `prepare`: the folder of videos, one person each; a subfolder holds one person's. With `subject`: a video of
    the person, or a folder of pictures."""
    data: Path | None = None
    "Folder with manifest.csv, clips and landmarks; default: the environment variable VISAVIS_DATA."
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    "Where checkpoint, log, sheets and weights go (default: out/RECIPE); with `prepare`: the data folder to write."
    resume: bool = False
    "Go on from the checkpoint in the output folder; with `prepare`: leave out the videos that are done."
    weights: Path | None = None
    "Begin with these weights (.safetensors) instead of random ones: to adapt a trained generator."
    steps: int | None = None
    "Stop after so many steps; default: at the recipe's end."
    max_seconds: float | None = None
    "Stop after so many seconds."
    device: Literal["auto", "cpu", "cuda"] = "auto"
    "Where to train; auto: on the GPU if there is one."
    threads: int | None = None
    "Threads on the CPU; default: one a core."

    def run(self) -> int:
        from visavis.train import train

        return train(self)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Measure how good generators are on test clips: writes JSON, and a page with plots and contact sheets."""

    data: Path
    "The data pack: manifest.csv, and clips/SIZE/ID.mp4; its rows of the split `test` are used."
    generator: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    "A generator to evaluate; may be given several times. Default: the one that the other commands render with."
    runtime: str = Rendering.runtime
    "What executes the generators."
    size: Size = 256
    "Side of the frames in pixels."
    step: int = 2
    "Compare every how manieth frame."
    sources: tuple[int, ...] = (1,)
    "Numbers of source frames, e.g. 1 2 4; with more than one, only the second half of the clips is compared for it."
    clips: tuple[str, ...] = ()
    "Only these clips."
    cross: bool = False
    "Also drive people by each other."
    pairs: int = 10
    "How many pairs of people, with --cross."
    lpips_weights: Path | None = None
    "AlexNet's or VGG16's weights in torchvision's layout, for LPIPS."
    fid_network: Path | None = None
    "The Inception network as TorchScript, for FID; it is a program, so trust where it comes from."
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("visavis-evaluation")
    "The folder to write; its sheets show the people in the clips."

    def run(self) -> int:
        from visavis.evaluate import evaluate

        return evaluate(self)


@dataclass(frozen=True, kw_only=True)
class OfNetworks:
    """What commands that compare networks with torch have in common."""

    generator: str = Rendering.generator
    "Whose networks."
    size: Size = 256
    "Side of the frames in pixels."
    source: Path | None = None
    "The picture to compare on, instead of the one that comes along."


@dataclass(frozen=True, kw_only=True)
class OfPlans(OfNetworks):
    """What commands about plans have in common."""

    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    "Of convolutions; coordinates, softmaxes and statistics have 32 bits always. The runtime uses the plans of fp16."


@dataclass(frozen=True, kw_only=True)
class PlansBuild(OfPlans):
    """Build the TensorRT plans of a generator for this GPU, and check them against torch. Takes minutes, once."""

    again: bool = False
    "Build plans that are there already, too."

    def run(self) -> int:
        from visavis.plans import build

        return build(self)


@dataclass(frozen=True)
class PlansList:
    """Show which plans are there, for which GPU and TensorRT, and what their comparison with torch found."""

    def run(self) -> int:
        from visavis.plans import list_plans

        return list_plans()


@dataclass(frozen=True, kw_only=True)
class PlansVerify(OfPlans):
    """Compare the plans of a generator with torch again; fails where one is missing or does not agree."""

    def run(self) -> int:
        from visavis.plans import verify

        return verify(self)


@dataclass(frozen=True)
class Plans:
    """Build, list or verify TensorRT plans: what the runtime `tensorrt` executes on an NVIDIA GPU."""

    action: tyro.conf.OmitArgPrefixes[
        Annotated[PlansBuild, tyro.conf.subcommand("build", prefix_name=False)]
        | Annotated[PlansList, tyro.conf.subcommand("list", prefix_name=False)]
        | Annotated[PlansVerify, tyro.conf.subcommand("verify", prefix_name=False)]
    ]

    def run(self) -> int:
        return self.action.run()


@dataclass(frozen=True, kw_only=True)
class Export(OfNetworks):
    """Make the files that run without torch (ONNX) from a generator's weights, each checked against torch."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    "The folder to write; default: beside the weights."

    def run(self) -> int:
        from visavis.export import export

        return export(self)


@dataclass(frozen=True, kw_only=True)
class WeightsImport:
    """Turn published checkpoints into weights for a generator of ours, beside a card that says where they are from.

    Nothing in the files is executed, every key and shape is checked, and nothing is written unless all fits.
    """

    generator: Annotated[Literal["fomm", "dagan", "adaat", "iplap", "lsr", "rhythmic"], tyro.conf.Positional]
    "Whose checkpoint it is."
    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """One file; for dagan three in any order: the model's, and encoder.pth and depth.pth of its depth network; for
    iplap the renderer's and, for voices, the landmark generator's; for lsr an .npz of the checkpoint's variables."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    "Write into GENERATOR in this folder, for VISAVIS_WEIGHTS, instead of the user's own (~/.local/share)."
    keypoints: int | None = None
    "Refuse weights with another number of keypoints than this."
    align_corners: Literal["auto", "yes", "no"] = "auto"
    "How pictures are sampled, which the files do not say. auto: fomm tries both on frames, dagan is as published: no."
    half: bool = False
    "Store float16: half the size."
    force: bool = False
    "Overwrite the weights that are there; networks exported from them are removed."

    def run(self) -> int:
        from visavis.weights_import import import_weights

        return import_weights(self)


@dataclass(frozen=True)
class WeightsList:
    """Show which weights are there: where they are from, under which licence, and what was exported from them."""

    def run(self) -> int:
        from visavis.weights_list import list_weights

        return list_weights()


@dataclass(frozen=True)
class Weights:
    """Import published weights, or list what is there."""

    action: tyro.conf.OmitArgPrefixes[
        Annotated[WeightsImport, tyro.conf.subcommand("import", prefix_name=False)]
        | Annotated[WeightsList, tyro.conf.subcommand("list", prefix_name=False)]
    ]

    def run(self) -> int:
        return self.action.run()


Command = Render | Speak | Track | Demo | Serve | Call | Webcam | Bench | Train | Evaluate | Export | Plans | Weights

COMMANDS: dict[str, Any] = {
    "demo": Demo,
    "render": Render,
    "speak": Speak,
    "track": Track,
    "serve": Serve,
    "call": Call,
    "webcam": Webcam,
    "bench": Bench,
    "evaluate": Evaluate,
    "train": Train,
    "plans": Plans,
    "export": Export,
    "weights": Weights,
}
