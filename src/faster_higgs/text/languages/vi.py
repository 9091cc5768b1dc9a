"""Vietnamese as tables: how things are said. Holds no rule."""

from __future__ import annotations

from faster_higgs.text.languages.signs import VIETNAMESE

UPPER = f"A-Z{VIETNAMESE.upper()}"  # capitals, as the inside of a character class
LOWER = f"a-z{VIETNAMESE}"


def _words(text: str) -> list[str]:
    return text.split()


ONES = _words("không một hai ba bốn năm sáu bảy tám chín")
SCALES = ((10**9, "tỷ"), (10**6, "triệu"), (10**3, "nghìn"))
LETTER_NAMES = {
    "a": "a", "b": "bê", "c": "xê", "d": "đê", "đ": "đê", "e": "e", "f": "ép", "g": "giê",
    "h": "hát", "i": "i", "j": "gi", "k": "ca", "l": "lờ", "m": "mờ", "n": "nờ", "o": "o",
    "p": "pê", "q": "quy", "r": "rờ", "s": "ét", "t": "tê", "u": "u", "v": "vê", "w": "vê kép",
    "x": "ích", "y": "y", "z": "dét",
}  # fmt: skip

# --- money -------------------------------------------------------------------------------------

# What stands before an amount.
CURRENCIES = {
    "US$": "đô la Mỹ", "A$": "đô la Úc", "C$": "đô la Canada", "HK$": "đô la Hồng Kông",
    "S$": "đô la Singapore", "$": "đô la", "€": "ơ rô", "£": "bảng Anh", "¥": "yên", "₫": "đồng",
    "₩": "won", "₹": "ru pi", "₽": "rúp", "฿": "bạt", "₿": "bít coin",
}  # fmt: skip
# What stands after it, or before it.
CURRENCY_CODES = {
    "VND": "đồng", "VNĐ": "đồng", "vnd": "đồng", "vnđ": "đồng", "Vnđ": "đồng",
    "USD": "đô la Mỹ", "EUR": "ơ rô", "GBP": "bảng Anh", "JPY": "yên Nhật", "CNY": "nhân dân tệ",
    "RMB": "nhân dân tệ", "NDT": "nhân dân tệ", "KRW": "won Hàn Quốc", "THB": "bạt Thái",
    "SGD": "đô la Singapore", "AUD": "đô la Úc", "CAD": "đô la Canada", "HKD": "đô la Hồng Kông",
    "TWD": "đô la Đài Loan", "NZD": "đô la New Zealand", "CHF": "phrăng Thụy Sĩ", "RUB": "rúp Nga",
    "INR": "ru pi Ấn Độ", "MYR": "ring gít", "LAK": "kíp Lào", "KHR": "riên",
}  # fmt: skip
DONG = {"đ": "đồng", "Đ": "đồng", "đồng": "đồng"}
MAGNITUDES = {
    "k": "nghìn", "K": "nghìn", "tr": "triệu", "Tr": "triệu", "TR": "triệu", "M": "triệu",
    "B": "tỷ", "nghìn": "nghìn", "ngàn": "ngàn", "triệu": "triệu", "tỷ": "tỷ", "tỉ": "tỷ",
    "trăm": "trăm", "chục": "chục", "vạn": "vạn",
    "nghìn tỷ": "nghìn tỷ", "ngàn tỷ": "ngàn tỷ", "nghìn tỉ": "nghìn tỷ",
}  # fmt: skip

# --- measures ----------------------------------------------------------------------------------

UNITS = {
    "km": "ki lô mét", "Km": "ki lô mét", "KM": "ki lô mét", "hm": "héc tô mét", "m": "mét",
    "dm": "đề xi mét", "cm": "xăng ti mét", "mm": "mi li mét", "µm": "mi crô mét",
    "nm": "na nô mét", "km²": "ki lô mét vuông", "km2": "ki lô mét vuông", "m²": "mét vuông",
    "m2": "mét vuông", "M2": "mét vuông", "cm²": "xăng ti mét vuông", "cm2": "xăng ti mét vuông",
    "dm2": "đề xi mét vuông", "mm²": "mi li mét vuông", "mm2": "mi li mét vuông",
    "m³": "mét khối", "m3": "mét khối", "M3": "mét khối", "cm³": "xăng ti mét khối",
    "cm3": "xăng ti mét khối", "km³": "ki lô mét khối", "km3": "ki lô mét khối",
    "dm³": "đề xi mét khối", "dm3": "đề xi mét khối", "cc": "xê xê", "ha": "héc ta",
    "kg": "ki lô gam", "Kg": "ki lô gam", "KG": "ki lô gam", "g": "gam", "gr": "gam",
    "mg": "mi li gam", "µg": "mi crô gam", "lb": "pao", "oz": "ao xơ", "l": "lít", "L": "lít",
    "ml": "mi li lít", "mL": "mi li lít", "cl": "xăng ti lít",
    "km/h": "ki lô mét trên giờ", "km/giờ": "ki lô mét trên giờ", "Km/h": "ki lô mét trên giờ",
    "km/s": "ki lô mét trên giây",
    "m/s": "mét trên giây", "m/s²": "mét trên giây bình phương",
    "m/s2": "mét trên giây bình phương", "m3/s": "mét khối trên giây",
    "m³/s": "mét khối trên giây", "l/s": "lít trên giây", "mg/l": "mi li gam trên lít",
    "mg/dL": "mi li gam trên đề xi lít", "g/l": "gam trên lít", "mmol/l": "mi li mol trên lít",
    "kg/m3": "ki lô gam trên mét khối", "kg/m³": "ki lô gam trên mét khối",
    "µg/m³": "mi crô gam trên mét khối", "µg/m3": "mi crô gam trên mét khối",
    "mph": "dặm trên giờ", "°C": "độ xê", "°F": "độ ép", "°K": "độ ca", "ºC": "độ xê", "°": "độ",
    "%": "phần trăm", "‰": "phần nghìn", "bit": "bít", "KB": "ki lô bai", "kB": "ki lô bai",
    "MB": "mê ga bai", "GB": "gi ga bai", "Gb": "gi ga bít", "TB": "tê ra bai", "PB": "pê ta bai",
    "kbps": "ki lô bít trên giây", "Kbps": "ki lô bít trên giây", "Mbps": "mê ga bít trên giây",
    "Gbps": "gi ga bít trên giây", "MB/s": "mê ga bai trên giây", "GB/s": "gi ga bai trên giây",
    "Hz": "héc", "kHz": "ki lô héc", "KHz": "ki lô héc", "MHz": "mê ga héc", "GHz": "gi ga héc",
    "W": "oát", "kW": "ki lô oát", "KW": "ki lô oát", "MW": "mê ga oát", "GW": "gi ga oát",
    "kWh": "ki lô oát giờ", "KWh": "ki lô oát giờ", "kwh": "ki lô oát giờ",
    "MWh": "mê ga oát giờ", "kVA": "ki lô vôn am pe", "V": "vôn", "mV": "mi li vôn",
    "kV": "ki lô vôn", "mA": "mi li am pe", "mAh": "mi li am pe giờ", "Ah": "am pe giờ",
    "Ω": "ôm", "dB": "đề xi ben", "J": "giun", "kJ": "ki lô giun", "cal": "ca lo",
    "kcal": "ki lô ca lo", "Kcal": "ki lô ca lo", "Pa": "pát can", "hPa": "héc tô pát can",
    "kPa": "ki lô pát can", "MPa": "mê ga pát can", "mmHg": "mi li mét thủy ngân",
    "atm": "át mốt phe", "hp": "mã lực", "HP": "mã lực", "s": "giây", "ms": "mi li giây",
    "ph": "phút", "min": "phút", "px": "pích xeo", "MP": "mê ga pích xeo",
    "fps": "khung hình trên giây", "rpm": "vòng trên phút", "bpm": "nhịp trên phút",
    "ppm": "phần triệu", "inch": "inch", "pH": "pê hát", "mol": "mol", "IU": "đơn vị quốc tế",
}  # fmt: skip
# Those that are said without a number, too.
LONE_UNITS = _words(
    """kg km cm mm ml Km km² km2 m² m2 cm² cm2 m³ m3 cm³ cm3 km/h m/s kW kWh GB MB TB GHz MHz kHz
    Mbps Gbps mAh dB"""
)
# What may follow a slash: 25.000đ/kg, 3 lần/ngày.
PER = {
    **{word: word for word in (
        "người", "tháng", "ngày", "năm", "giờ", "phút", "giây", "tuần", "quý", "lần", "tấn", "tạ",
        "yến", "lít", "cái", "chiếc", "con", "bộ", "phòng", "đêm", "suất", "vé", "cổ phiếu",
        "lượng", "chỉ", "thùng", "hộp", "chai", "buổi", "căn", "hộ", "lượt", "khách", "ca", "bao",
        "công", "hồ sơ", "cây", "bàn", "ly", "tô", "phần", "đơn vị", "đầu người", "thế kỷ",
    )},
    "kg": "ki lô gam", "km": "ki lô mét", "m": "mét", "m2": "mét vuông", "m²": "mét vuông",
    "m3": "mét khối", "m³": "mét khối", "km2": "ki lô mét vuông", "km²": "ki lô mét vuông",
    "ha": "héc ta", "g": "gam", "l": "lít", "h": "giờ", "s": "giây", "kWh": "ki lô oát giờ",
    "ml": "mi li lít",
}  # fmt: skip

# --- numbers that name -------------------------------------------------------------------------

# After one of these the digits are read one by one.
CODE_WORDS = (
    "số tài khoản", "tài khoản số", "số điện thoại", "điện thoại", "số máy", "hotline", "hot line",
    "đường dây nóng", "tổng đài", "số căn cước", "căn cước công dân", "căn cước",
    "chứng minh nhân dân", "hộ chiếu số", "mã số thuế", "mã số", "mã vạch", "mã OTP", "mã PIN",
    "mã xác nhận", "mã xác thực", "mã bưu chính", "mã đơn hàng", "mật khẩu", "OTP", "PIN", "zalo",
    "cccd", "cmnd", "stk", "sđt", "đt", "imei", "fax", "máy lẻ",
)  # fmt: skip
CALLING = ("gọi", "bấm", "bấm số", "gọi số", "quay số", "nhắn tin", "đầu số", "cảnh sát", "cứu hộ")
# After one of these a slash is read as "trên": house numbers, ratios, marks.
SLASHED = (
    "số nhà", "nhà số", "số", "hẻm", "ngõ", "ngách", "kiệt", "nhà", "tỷ lệ", "tỉ lệ", "xếp hạng",
    "điểm", "chấm", "huyết áp", "tờ", "thửa", "tầng", "địa chỉ",
)  # fmt: skip
# After one of these 2-1 is the result of a match.
SCORED = (
    "tỷ số", "tỉ số", "thắng", "thua", "hòa", "dẫn", "dẫn trước", "gỡ", "kết quả", "bại",
    "nâng tỷ số lên",
    "với tỷ số",
)  # fmt: skip
# Said as they are, although they look like a date or a fraction.
SPOKEN_PAIRS = {
    "24/7": "hai mươi bốn trên bảy", "24/24": "hai mươi bốn trên hai mươi bốn",
    "50/50": "năm mươi năm mươi", "7/7": "bảy trên bảy", "24/24h": "hai mươi bốn trên hai mươi bốn",
}  # fmt: skip
# Days that everybody knows, although they could be fractions.
HOLIDAYS = frozenset(("2/9",))
# After one of these a day and a month follow.
BEFORE_A_DAY = (
    "ngày", "hôm", "sáng", "trưa", "chiều", "tối", "đêm", "khuya", "mùng", "mồng", "rằm", "lễ",
    "dịp", "nghỉ", "ngày mùng", "thứ hai", "thứ ba", "thứ tư", "thứ năm", "thứ sáu", "thứ bảy",
    "chủ nhật", "hôm nay", "hôm qua", "ngày mai", "Quốc khánh", "quốc khánh", "sinh nhật",
)  # fmt: skip
# After one of these a Roman numeral is a number.
NUMBERED = (
    "thế kỷ", "thế kỉ", "chương", "phần", "mục", "điều", "khóa", "kỳ", "học kỳ", "quý", "đại hội",
    "đại hội đảng", "tập", "hồi", "quyển", "bài", "thứ", "loại", "cấp", "hạng", "thế chiến",
    "chiến tranh thế giới", "giai đoạn", "nhóm", "vùng", "khu", "quân đoàn", "quân khu", "bảng",
    "đợt", "vòng", "tuần", "phụ lục", "cách mạng công nghiệp", "đệ", "trung ương", "khối", "tổ",
    "đời", "vua", "độ", "type", "đông xuân", "cấp độ", "lần", "màn", "tầng", "đoàn", "lớp", "mã",
)  # fmt: skip

# --- abbreviations -----------------------------------------------------------------------------

# Before a name, with or without a dot.
TITLES = {
    "GS": "giáo sư", "PGS": "phó giáo sư", "TS": "tiến sĩ", "TSKH": "tiến sĩ khoa học",
    "ThS": "thạc sĩ", "Ths": "thạc sĩ", "THS": "thạc sĩ", "Th.S": "thạc sĩ", "BS": "bác sĩ",
    "Bs": "bác sĩ", "BSCKI": "bác sĩ chuyên khoa một", "BSCKII": "bác sĩ chuyên khoa hai",
    "KS": "kỹ sư", "KTS": "kiến trúc sư", "LS": "luật sư", "DS": "dược sĩ", "NS": "nghệ sĩ",
    "NSND": "nghệ sĩ nhân dân", "NSƯT": "nghệ sĩ ưu tú", "NGND": "nhà giáo nhân dân",
    "NGƯT": "nhà giáo ưu tú", "HLV": "huấn luyện viên", "TP": "thành phố", "Tp": "thành phố",
    "tp": "thành phố", "Mr": "ông", "Mrs": "bà", "Ms": "cô", "Dr": "tiến sĩ", "Prof": "giáo sư",
    "CLB": "câu lạc bộ", "TTg": "Thủ tướng", "ĐD": "đạo diễn",
}  # fmt: skip
# These need their dot, and a number or two words of a name after it: Q.1, P. Bến Nghé.
DISTRICTS = {
    "Q": "quận", "P": "phường", "F": "phường", "H": "huyện", "X": "xã", "TX": "thị xã",
    "Tx": "thị xã", "TT": "thị trấn", "Tt": "thị trấn", "Đ": "đường", "KP": "khu phố",
}  # fmt: skip
# After one of these a letter with a dot is a person.
PERSONS = frozenset(
    _words(
        """ông bà anh chị em cô chú bác cháu bé thầy cậu dì cụ nhân cáo can sĩ tên và cùng với của
        nghi phạm"""
    )
)
# Before a number, with a dot.
COUNTED = {"tr": "trang", "Tr": "Trang", "No": "số", "no": "số", "Vol": "tập", "vol": "tập"}
# Before a number: QL1A.
ROADS = {"QL": "quốc lộ", "TL": "tỉnh lộ", "ĐT": "đường tỉnh", "HL": "hương lộ"}
# Wherever they stand as a word of their own.
ABBREVIATIONS = {
    "TP.HCM": "thành phố Hồ Chí Minh", "TP. HCM": "thành phố Hồ Chí Minh",
    "TP HCM": "thành phố Hồ Chí Minh", "TPHCM": "thành phố Hồ Chí Minh",
    "Tp.HCM": "thành phố Hồ Chí Minh", "Tp. HCM": "thành phố Hồ Chí Minh",
    "tp.HCM": "thành phố Hồ Chí Minh", "tp HCM": "thành phố Hồ Chí Minh",
    "tphcm": "thành phố Hồ Chí Minh", "HCM": "Hồ Chí Minh", "HN": "Hà Nội", "SG": "Sài Gòn",
    "VN": "Việt Nam", "VNCH": "Việt Nam Cộng hòa", "UBND": "Ủy ban nhân dân",
    "HĐND": "Hội đồng nhân dân", "HĐQT": "hội đồng quản trị", "MTTQ": "Mặt trận Tổ quốc",
    "CHXHCN": "Cộng hòa xã hội chủ nghĩa", "CHXHCNVN": "Cộng hòa xã hội chủ nghĩa Việt Nam",
    "XHCN": "xã hội chủ nghĩa", "CNXH": "chủ nghĩa xã hội", "TBCN": "tư bản chủ nghĩa",
    "ĐCSVN": "Đảng Cộng sản Việt Nam", "BCH": "ban chấp hành", "BCHTW": "Ban Chấp hành Trung ương",
    "TW": "trung ương", "TƯ": "trung ương", "T.Ư": "trung ương", "ĐBQH": "đại biểu Quốc hội",
    "NHNN": "Ngân hàng Nhà nước", "NHTM": "ngân hàng thương mại", "TTCK": "thị trường chứng khoán",
    "KBNN": "Kho bạc Nhà nước", "CSGT": "cảnh sát giao thông", "CSHS": "cảnh sát hình sự",
    "PCCC": "phòng cháy chữa cháy", "CNCH": "cứu nạn cứu hộ", "BĐBP": "bộ đội biên phòng",
    "QĐND": "Quân đội nhân dân", "CAND": "Công an nhân dân", "VKSND": "Viện kiểm sát nhân dân",
    "TAND": "Tòa án nhân dân", "BLDS": "Bộ luật Dân sự", "BLHS": "Bộ luật Hình sự",
    "NQ": "nghị quyết", "QĐ": "quyết định", "NĐ": "nghị định", "NĐ-CP": "nghị định Chính phủ",
    "QĐ-TTg": "quyết định Thủ tướng", "QĐ-UBND": "quyết định Ủy ban nhân dân",
    "NQ-CP": "nghị quyết Chính phủ", "NQ-TW": "nghị quyết Trung ương",
    "GD&ĐT": "Giáo dục và Đào tạo",
    "GD-ĐT": "Giáo dục và Đào tạo", "GDĐT": "Giáo dục và Đào tạo", "GTVT": "giao thông vận tải",
    "LĐTBXH": "Lao động Thương binh và Xã hội", "KH&CN": "Khoa học và Công nghệ",
    "KHCN": "khoa học công nghệ", "KH-CN": "khoa học công nghệ",
    "TN&MT": "Tài nguyên và Môi trường",
    "TT&TT": "Thông tin và Truyền thông", "VH-TT&DL": "Văn hóa Thể thao và Du lịch",
    "VHTTDL": "Văn hóa Thể thao và Du lịch", "NN&PTNT": "Nông nghiệp và Phát triển nông thôn",
    "KH&ĐT": "Kế hoạch và Đầu tư", "BV": "bệnh viện", "BHYT": "bảo hiểm y tế",
    "BHXH": "bảo hiểm xã hội", "BHTN": "bảo hiểm thất nghiệp", "YHCT": "y học cổ truyền",
    "ĐH": "đại học", "CĐ": "cao đẳng", "ĐHQG": "Đại học Quốc gia", "ĐHBK": "Đại học Bách khoa",
    "ĐHSP": "Đại học Sư phạm", "THPT": "trung học phổ thông", "THCS": "trung học cơ sở",
    "TNTHPT": "tốt nghiệp trung học phổ thông", "GV": "giáo viên", "HS": "học sinh",
    "SV": "sinh viên", "HSSV": "học sinh sinh viên", "HSG": "học sinh giỏi", "KTX": "ký túc xá",
    "PV": "phóng viên", "BTV": "biên tập viên", "PTV": "phát thanh viên", "NXB": "nhà xuất bản",
    "TTXVN": "Thông tấn xã Việt Nam", "ĐTQG": "đội tuyển quốc gia", "VĐV": "vận động viên",
    "HCV": "huy chương vàng", "HCB": "huy chương bạc", "HCĐ": "huy chương đồng",
    "TDTT": "thể dục thể thao", "BTC": "ban tổ chức", "CĐV": "cổ động viên", "NHM": "người hâm mộ",
    "HLV": "huấn luyện viên", "CLB": "câu lạc bộ", "LĐBĐ": "Liên đoàn Bóng đá",
    "TNHH": "trách nhiệm hữu hạn", "TNHH MTV": "trách nhiệm hữu hạn một thành viên",
    "CTCP": "công ty cổ phần", "DN": "doanh nghiệp", "DNNN": "doanh nghiệp nhà nước",
    "KCN": "khu công nghiệp", "KCX": "khu chế xuất", "KĐT": "khu đô thị", "KDC": "khu dân cư",
    "BĐS": "bất động sản", "GPMB": "giải phóng mặt bằng", "QSDĐ": "quyền sử dụng đất",
    "TNGT": "tai nạn giao thông", "ATGT": "an toàn giao thông", "ATTP": "an toàn thực phẩm",
    "ATVSTP": "an toàn vệ sinh thực phẩm", "ATLĐ": "an toàn lao động", "NLĐ": "người lao động",
    "XKLĐ": "xuất khẩu lao động", "GTGT": "giá trị gia tăng", "TNCN": "thu nhập cá nhân",
    "TNDN": "thu nhập doanh nghiệp", "KT-XH": "kinh tế - xã hội", "KTXH": "kinh tế xã hội",
    "VHXH": "văn hóa xã hội", "ANTT": "an ninh trật tự", "ANQP": "an ninh quốc phòng",
    "QP-AN": "quốc phòng an ninh", "CNTT": "công nghệ thông tin", "CNH": "công nghiệp hóa",
    "HĐH": "hiện đại hóa", "CNH-HĐH": "công nghiệp hóa, hiện đại hóa",
    "CMND": "chứng minh nhân dân",
    "CCCD": "căn cước công dân", "GPLX": "giấy phép lái xe", "STK": "số tài khoản",
    "SĐT": "số điện thoại", "sđt": "số điện thoại", "ĐTDĐ": "điện thoại di động",
    "TMĐT": "thương mại điện tử", "TCN": "trước Công nguyên", "SCN": "sau Công nguyên",
    "ĐBSCL": "Đồng bằng sông Cửu Long", "TBT": "tổng bí thư", "CTN": "chủ tịch nước",
    "LHQ": "Liên Hợp Quốc", "LHPN": "Liên hiệp Phụ nữ", "TNCS": "Thanh niên Cộng sản",
    "TNXP": "thanh niên xung phong", "BQL": "ban quản lý", "BGĐ": "ban giám đốc", "GĐ": "giám đốc",
    "PGĐ": "phó giám đốc", "TGĐ": "tổng giám đốc", "PCT": "phó chủ tịch", "PTT": "phó thủ tướng",
    "BCĐ": "ban chỉ đạo", "NN": "nhà nước", "ĐV": "đơn vị", "ĐVT": "đơn vị tính",
    "TPHN": "thành phố Hà Nội", "BR-VT": "Bà Rịa - Vũng Tàu", "TT-Huế": "Thừa Thiên Huế",
    "VN-Index": "Vi en in đếch", "VN-INDEX": "Vi en in đếch", "SN": "sinh năm",
    "BKS": "biển kiểm soát", "ĐT:": "điện thoại:", "Q&A": "hỏi đáp",
    "NQ/TW": "nghị quyết trung ương", "CT/TW": "chỉ thị trung ương",
    "QĐ/TW": "quyết định trung ương", "KL/TW": "kết luận trung ương",
    "R&D": "nghiên cứu và phát triển", "ko": "không", "Ko": "Không", "đc": "được",
    "ntn": "như thế nào", "P.S.": "tái bút", "P/S": "tái bút", "a.k.a.": "còn gọi là",
    "vs.": "với", "vs": "với", "e.g.": "ví dụ", "i.e.": "tức là", "VD": "ví dụ", "Vd": "Ví dụ",
    "vd": "ví dụ", "C++": "xê cộng cộng", "C#": "xê thăng", "A/C": "máy lạnh", "N/A": "không có",
}  # fmt: skip
AND_SO_ON = ("v.v", "v..v", "v. v", "vv", "etc")
# Acronyms that are read as words.
WORDLIKE_ACRONYMS = frozenset(
    _words(
        """AIDS APEC ASEAN ASEM COVID FIFA UEFA FAHASA NASA NATO OPEC PIN SARS SIM UNESCO UNICEF
        UNICEF VIETTEL WIFI OK OPPO IKEA LEGO RAM ROM LASER RADAR SONAR VIP"""
    )
)
# Acronyms that have a way of their own.
SPOKEN_ACRONYMS = {
    "AI": "ây ai", "IT": "ai ti", "CEO": "xi i ô", "CFO": "xi ép ô", "MC": "em xi", "PR": "pi a",
    "TV": "ti vi", "PC": "pi xi", "DJ": "đi giây", "CD": "xi đi", "DVD": "đi vi đi",
    "USA": "Hoa Kỳ", "US": "Mỹ", "UK": "Anh", "UN": "Liên Hợp Quốc", "EU": "Liên minh châu Âu",
    "IELTS": "ai eo", "TOEIC": "tô ích", "TOEFL": "tô phồ", "FED": "phét", "GPS": "gi pi ét",
    "CIA": "xi ai ê", "FBI": "ép bi ai", "ATM": "a tê em", "ID": "ai đi", "QR": "quy rờ",
    "UAE": "u a e", "UI": "u i", "EVN": "e vê nờ", "AFF": "a ép ép", "AFC": "a ép xê",
}  # fmt: skip

# --- addresses and signs -----------------------------------------------------------------------

TOP_DOMAINS = _words("com org net edu gov info biz vn io ai co me tv app dev xyz shop online us uk")
# Those that also mean something after a dot in plain text need a scheme, a path or www.
DOUBTFUL_DOMAINS = frozenset(_words("ai app co me io us online shop"))
IN_ADDRESSES = {
    ".": "chấm", "/": "gạch chéo", "-": "gạch ngang", "_": "gạch dưới", "@": "a còng",
    ":": "hai chấm", "?": "hỏi chấm", "=": "bằng", "&": "và", "#": "thăng", "%": "phần trăm",
    "~": "ngã", "+": "cộng",
}  # fmt: skip
SYMBOLS = {
    "&": "và", "@": "a còng", "+": "cộng", "=": "bằng", "≠": "khác", "≈": "xấp xỉ",
    "±": "cộng trừ", "×": "nhân", "÷": "chia", "√": "căn bậc hai của", "∞": "vô cùng",
    "≤": "nhỏ hơn hoặc bằng", "≥": "lớn hơn hoặc bằng", "%": "phần trăm", "‰": "phần nghìn",
    "§": "mục", "¶": "đoạn", "©": "bản quyền", "№": "số", "°": "độ", "µ": "mi crô", "π": "pi",
    "Ω": "ôm", "→": "đến", "\\": "gạch chéo ngược", "²": "bình phương", "³": "lập phương",
    "−": "trừ", "¢": "xu", "^": "mũ", "$": "đô la", "€": "ơ rô", "£": "bảng Anh", "¥": "yên",
    "₫": "đồng", "₩": "won", "₹": "ru pi", "₽": "rúp", "฿": "bạt", "₿": "bít coin",
}  # fmt: skip
# Signs that are not said.
SILENT = "#*_`~|<>{}•◦▪●®™†‡¨¦¬¯´¸"
