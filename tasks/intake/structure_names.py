"""Names of structures that are kept: those built of technical terms; others become a number.

A structure's name is free text (``PTV_Mueller_2``). It is kept when each of its words is an
anatomical or planning term, of which AAPM TG-263 composes names, so that it reveals nothing but
anatomy.

References
----------
Mayo et al., Int J Radiat Oncol Biol Phys 100 (2018) 1057-1066 (AAPM TG-263).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TARGETS = "gtv ctv itv ptv igtv ictv hrctv ircv btv tv boost prv opt eval ring sub"
_SIDES = """l r lt rt left right bilat bilateral ipsi ipsilateral contra contralateral ant post
anterior posterior sup inf superior inferior med lat medial lateral prox dist upper lower mid middle
total all whole both combined sum"""
_DAYS = "ct mr cbct t1 t2 pet plan"
_PLAIN = """body external ext skin outline couch bolus mass tumor tumour primary prim node nodes
nodal ln lymph bed high low inter intermediate dose risk vol volume avoid hotspot isocenter
a b c d e i ii iii iv v and in of"""
_ORGANS = """a_aorta acetabulum adrenal air airway anal anus aorta appendix arm arteries artery
arytenoid atrium auditory bag basal bile bladder blood bone bones bowel brachial brain brainstem
breast breasts bronchi bronchus bulb buccal canal cardiac carina carotid cartilage cauda caudate
cavity cavities cecum celiac cerebellum cerebrum cervical chestwall chest chiasm chiasma clavicle
coccyx cochlea cochleae colon constrictor constrictors cord cornea coronary cortex cricoid
cricopharyngeus diaphragm duodenum ear ears eqina equina esophagus eye eyes eyelid face facial fat
femoral femur femurs fibula fossa gallbladder ganglia genitals gland glands glottis glnd glottic
gluteus hand head heart hemisphere hip hippocampi hippocampus humerus hypothalamus ileum iliac
implant inguinal inner internal intestine jejunum joint jugular kidney kidneys knee lacrimal lad
larynx leg lens lenses lip lips liver lobe lung lungs lymphatic macula mandible marrow masseter
mastoid maxilla mediastinum meninges mouth mucosa muscle muscles nasal nasopharynx neck nerve nerves
occipital olfactory optic oral orbit orbits oropharynx ovaries ovary palate pancreas parametrium
parathyroid parietal parotid parotids patella pelvic pelvis penile penis penilebulb pericardium
pharyngeal pharynx pituitary plexus pons portal prostate psoas pubic pubis pulmonary rectal rectum
renal retina retro rib ribs sacrum scalp scapula scar sclera scrotum seminal semves septum shoulder
sigmoid sinus skull small large spc space spinal spinalcanal spinalcord spine spleen stem sternum
stomach sublingual submandibular submand supraglottis temporal testes testis thalamus thigh thorax
throat thymus thyroid tibia tmj tongue trachea tract tube uretra ureter ureters urethra uterus
vagina vein veins vena cava ventricle ventricles vertebra vertebrae vertebral vesicle vesicles
vessel vessels vitreous wall"""
_WORDS = frozenset(" ".join([_TARGETS, _SIDES, _DAYS, _PLAIN, _ORGANS]).split())
_LEVEL = re.compile(r"(?:[cls]|t)\d{1,2}|\d{1,2}")
"""A vertebra, or a count of at most two digits."""
_DOSED = re.compile(r"(gtv|ctv|itv|ptv)n?p?\d{0,2}")
_CENTIGRAY = re.compile(r"[1-9]\d{2}0")
_YEARS = range(1900, 2100)


def known_name(name: str) -> str:
    """The name in lower case with ``_`` between its words; empty where a word is not a term.

    >>> known_name("Parotid L"), known_name("PTV_7000"), known_name("PTV Smith 2")
    ('parotid_l', 'ptv_7000', '')
    """
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.strip())
    words = [word for word in re.split(r"[\s_\-+./,()&~^!]+", split.lower()) if word]
    target = any(_DOSED.fullmatch(word) for word in words)
    kept = bool(words) and any(re.search("[a-z]", word) for word in words)
    if kept and all(_is_term(word, target) for word in words) and len("_".join(words)) <= 48:
        return "_".join(words)
    return ""


def _is_term(word: str, target: bool) -> bool:
    if word in _WORDS or _LEVEL.fullmatch(word) or _DOSED.fullmatch(word):
        return True
    # Names of targets may contain the prescribed dose in cGy; a year is never kept.
    return target and bool(_CENTIGRAY.fullmatch(word)) and int(word) not in _YEARS


def neutral_names(names: Sequence[str]) -> list[str]:
    """A file name per structure: its own if that consists of terms, else ``structure-3``.

    Structures with the same name get their number in the set appended.
    """
    found: list[str] = []
    for number, name in enumerate(names, 1):
        kept = known_name(name) or f"structure-{number}"
        found.append(f"{kept}-{number}" if kept in found else kept)
    return found
